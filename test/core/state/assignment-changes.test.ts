import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { CommandType } from "../../../core/state/index.js";
import {
  type Machine,
  makeAllocation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  report,
} from "./support.js";

describe("those who keep nodes told of their assignment", () => {
  const nodes = [makeNode(), makeNode({ ID: "7f4e2d10-0000-4000-8000-000000000002" })] as const;
  const one = makeAllocation({ NodeID: nodes[0].ID });
  const other = makeAllocation({ NodeID: nodes[1].ID });
  let machine: Machine;
  let told: (string[] | null)[];

  beforeEach(() => {
    machine = openMachine();
    machine.apply(registration(makeJob()), nodeRegistration(nodes[0]), nodeRegistration(nodes[1]));
    told = [];
    machine.store.onAssignments((changed) =>
      told.push(changed === null ? null : [...new Set(changed)].sort()),
    );
  });
  afterEach(() => machine.close());

  const both = nodes.map(({ ID }) => ID).sort();

  it("hear once a batch of nodes where something was placed or stopped", () => {
    machine.apply(plan({ Placed: [one] }), plan({ Placed: [other] }));
    assert.deepEqual(told, [both]);
    const stop = { ID: one.ID, DesiredStatus: "stop", DesiredDescription: "" } as const;
    machine.apply(plan({ Stopped: [stop] }));
    machine.apply(plan({ Preempted: [{ ...stop, ID: other.ID, DesiredStatus: "evict" }] }));
    assert.deepEqual(told.slice(1), [[nodes[0].ID], [nodes[1].ID]]);
  });

  it("hear of removed allocations", () => {
    machine.apply(plan({ Placed: [one, other] }));
    machine.run(CommandType.EvaluationDelete, { EvalIDs: [], AllocIDs: [one.ID] });
    assert.deepEqual(told, [both, [nodes[0].ID]]);
  });

  it("hear nothing of what nodes report, nor of a plan that is refused", () => {
    machine.apply(plan({ Placed: [one] }));
    told = [];
    machine.apply(report(one, { ClientStatus: "complete" }));
    const [refused] = machine.apply(
      plan({ Placed: [makeAllocation({ JobID: "unknown", NodeID: nodes[1].ID })] }),
    );
    assert.ok(refused instanceof Error);
    assert.deepEqual(told, []);
  });

  it("are told that anything may have changed when the state is replaced", async () => {
    machine.apply(plan({ Placed: [one] }));
    const folder = join(machine.folder, "copy");
    await machine.fsm.snapshot(folder);
    told = [];
    await machine.fsm.restore(folder);
    assert.deepEqual(told, [null]);
  });
});
