import "reflect-metadata";
import { Scheduler } from "@drover/plugin-sdk";
import { schedulerConformance } from "@drover/plugin-sdk/testing";
import { container } from "tsyringe";
import plugin from "../../../plugins/scheduler-service/plugin.js";
import { ColumnPlacer } from "../../../workers/placement/index.js";

const own = container.createChildContainer();
plugin.register(own, {});
const create = (): Scheduler => own.resolveAll<Scheduler>(Scheduler)[0]!;

schedulerConformance("service, scanning", { create });
schedulerConformance("service, on columns", {
  create,
  placer: (scope) => new ColumnPlacer({ ...scope, filters: [], scorers: [] }),
});
