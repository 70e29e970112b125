import "reflect-metadata";
import { Scheduler } from "@drover/plugin-sdk";
import { systemSchedulerConformance } from "@drover/plugin-sdk/testing";
import { container } from "tsyringe";
import plugin from "../../../plugins/scheduler-sysbatch/plugin.js";
import { ColumnPlacer } from "../../../workers/placement/index.js";

const own = container.createChildContainer();
plugin.register(own, {});

systemSchedulerConformance("sysbatch, on columns", {
  create: () => own.resolveAll<Scheduler>(Scheduler)[0]!,
  placer: (scope) => new ColumnPlacer({ ...scope, filters: [], scorers: [] }),
});
