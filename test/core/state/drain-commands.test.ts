/** Commands of drains, as the state machine applies them. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type CommandPayloads, CommandRefused, CommandType } from "../../../core/state/index.js";
import { type Machine, makeNode, nodeRegistration, openMachine, TIME } from "./support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

function read<T>(use: (snapshot: ReturnType<Machine["store"]["view"]>) => T): T {
  using snapshot = machine.store.view();
  return use(snapshot);
}

function refusal(result: unknown): string {
  assert.ok(result instanceof CommandRefused, `expected a refusal, got ${String(result)}`);
  return result.message;
}

describe("a drain", () => {
  const strategy = {
    Deadline: 3600e9,
    ForceDeadline: "2026-11-23T15:48:44Z",
    IgnoreSystemJobs: false,
    StartedAt: "2026-11-23T14:48:44Z",
  };
  const drain = (
    NodeID: string,
    changes: Partial<CommandPayloads[typeof CommandType.NodeUpdateDrain]> = {},
  ) =>
    machine.run(CommandType.NodeUpdateDrain, {
      NodeID,
      Drain: strategy,
      Complete: false,
      MarkEligible: false,
      Meta: null,
      Event: null,
      Evaluations: [],
      Time: TIME,
      ...changes,
    });

  it("takes the node out of scheduling, survives its registration, and keeps its record to the end", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    drain(node.ID, { Meta: { why: "disk" } });
    machine.apply(nodeRegistration(node));
    let row = read((s) => s.node(node.ID))!;
    assert.deepEqual([row.Drain, row.SchedulingEligibility], [true, "ineligible"]);
    assert.deepEqual(row.DrainStrategy, strategy);
    const record = { AccessorID: "", Meta: { why: "disk" }, StartedAt: "2026-11-23T14:48:44Z" };
    assert.deepEqual(row.LastDrain, { ...record, Status: "draining", UpdatedAt: "2026-11-23T14:48:44Z" });
    drain(node.ID, { Drain: { ...strategy, StartedAt: "2026-11-23T14:50:44Z" }, Time: TIME + 60e9 });
    assert.equal(read((s) => s.node(node.ID))!.DrainStrategy?.StartedAt, "2026-11-23T14:48:44Z");
    drain(node.ID, { Drain: null, Complete: true, Time: TIME + 120e9 });
    row = read((s) => s.node(node.ID))!;
    assert.deepEqual([row.Drain, row.DrainStrategy, row.SchedulingEligibility], [false, null, "ineligible"]);
    assert.deepEqual(row.LastDrain, { ...record, Status: "complete", UpdatedAt: "2026-11-23T14:50:44Z" });
    assert.match(refusal(drain(node.ID, { Drain: null, Complete: true })), /is not draining/);
  });

  it("that is cancelled says so, and the node takes allocations again where that is wished", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    drain(node.ID);
    drain(node.ID, { Drain: null, MarkEligible: true });
    const row = read((s) => s.node(node.ID))!;
    assert.deepEqual([row.LastDrain?.Status, row.SchedulingEligibility], ["canceled", "eligible"]);
    assert.match(refusal(drain("00000000-0000-4000-8000-00000000ffff")), /node not found/);
  });
});
