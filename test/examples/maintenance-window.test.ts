import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeFilter } from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeJob,
  makeNode,
  nodeFilterConformance,
  SchedulerHarness,
} from "@drover/plugin-sdk/testing";
import { ColumnPlacer } from "../../workers/placement/index.js";
import { loadExample } from "./load-example.js";

const HOUR = 3_600_000;
const windowFrom = (hours: number, until: number): Record<string, string> => {
  const at = (offset: number): string =>
    `${new Date(Date.now() + offset * HOUR).toISOString().slice(0, 16)}Z`;
  return { maintenance_window: `${at(hours)}/${at(until)}` };
};
const filter = await loadExample("maintenance-window", NodeFilter, { lead_minutes: 60 });

nodeFilterConformance("maintenance window", {
  create: () => filter,
  nodes: () => [
    makeNode({ Meta: windowFrom(-1, 2) }),
    makeNode({ Meta: windowFrom(0.5, 2) }),
    makeNode({ Meta: windowFrom(8, 9) }),
    makeNode({ Meta: { maintenance_window: "soon" } }),
    makeNode(),
  ],
});

test("a job is placed on the node that stays up, and the metrics say why not on the others", async () => {
  const harness = new SchedulerHarness({
    placer: (scope) => new ColumnPlacer({ ...scope, filters: [filter], scorers: [] }),
  });
  const up = makeNode({ Meta: windowFrom(-9, -8) });
  for (const node of [makeNode({ Meta: windowFrom(-1, 2) }), up, makeNode({ Meta: windowFrom(0.5, 2) })])
    harness.state.putNode(node);
  const job = harness.state.putJob(makeJob());
  await harness.run(genericScheduler({ type: "service", batch: false }), makeEvaluation(job));
  const [allocation, ...others] = harness.live(job);
  assert.equal(others.length, 0);
  assert.equal(allocation?.NodeID, up.ID);
  assert.deepEqual(allocation?.Metrics?.ConstraintFiltered, { "maintenance window": 2 });
});
