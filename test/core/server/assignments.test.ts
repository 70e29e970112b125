import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentTransport, Allocation, AssignmentDelta, Job, StateSnapshot } from "@drover/plugin-sdk";
import { RemoteError } from "@drover/plugin-sdk";
import { eventually, quietLogger } from "@drover/plugin-sdk/testing";
import { type AssignmentState, Assignments } from "../../../core/server/nodes/assignments.js";

const JOB = {
  ID: "web",
  TaskGroups: [{ Name: "app" }, { Name: "other" }],
} as unknown as Job;

function allocation(id: string, modify: number, extra: Partial<Allocation> = {}): Allocation {
  return {
    ID: id,
    NodeID: "n1",
    JobID: "web",
    TaskGroup: "app",
    AllocModifyIndex: modify,
    ClientStatus: "pending",
    DesiredStatus: "run",
    ...extra,
  } as Allocation;
}

/** State and transport that a test changes by hand. */
function fixture(): {
  rows: Allocation[];
  restored: number;
  sent: AssignmentDelta[];
  answer: (delta: AssignmentDelta) => Promise<void>;
  connected: boolean;
  assignments: Assignments;
} {
  const made = {
    rows: [] as Allocation[],
    restored: 0,
    sent: [] as AssignmentDelta[],
    answer: async (_: AssignmentDelta): Promise<void> => {},
    connected: true,
    assignments: undefined as unknown as Assignments,
  };
  const snapshot = {
    index: 7,
    allocationsByNode: () => made.rows,
    allocationJob: () => JOB,
    close() {},
    [Symbol.dispose]() {},
  } as unknown as StateSnapshot;
  const state: AssignmentState = { snapshot: () => snapshot, restoredIndex: () => made.restored };
  const transport = {
    isConnected: () => made.connected,
    async call(_node: string, _method: string, delta: AssignmentDelta) {
      made.sent.push(delta);
      await made.answer(delta);
      return { index: delta.index };
    },
  } as unknown as AgentTransport;
  made.assignments = new Assignments(state, transport, quietLogger);
  return made;
}

test("a pull gives what the agent lacks or has older, and what it should forget", () => {
  const { rows, assignments } = fixture();
  rows.push(
    allocation("new", 5),
    allocation("same", 3),
    allocation("older", 9),
    allocation("ended", 2, { ClientStatus: "complete" }),
  );
  const delta = assignments.pull("n1", { same: 3, older: 4, gone: 1 });
  assert.deepEqual(delta.upserts.map((each) => each.ID).sort(), ["new", "older"]);
  assert.deepEqual(delta.removed, ["gone"]);
});

test("the job that travels holds the allocation's group alone", () => {
  const { rows, assignments } = fixture();
  rows.push(allocation("a", 1));
  const [only] = assignments.pull("n1", {}).upserts;
  assert.deepEqual(
    only?.Job.TaskGroups?.map((group) => group.Name),
    ["app"],
  );
});

test("a change is pushed once, and not again after the agent took it", async () => {
  const made = fixture();
  made.assignments.pull("n1", {});
  made.rows.push(allocation("a", 1));
  made.assignments.changed(["n1"]);
  await eventually("a push", () => made.sent.length === 1);
  made.assignments.changed(["n1"]);
  made.assignments.changed(["n1"]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(made.sent.length, 1);
});

test("changes during a push go out together in the next one", async () => {
  const made = fixture();
  made.assignments.pull("n1", {});
  let release = (): void => {};
  made.answer = () => new Promise<void>((resolve) => (release = resolve));
  made.rows.push(allocation("a", 1));
  made.assignments.changed(["n1"]);
  await eventually("the first push", () => made.sent.length === 1);
  made.rows.push(allocation("b", 2), allocation("c", 3));
  made.assignments.changed(["n1"]);
  made.assignments.changed(["n1"]);
  made.answer = async () => {};
  release();
  await eventually("the second push", () => made.sent.length === 2);
  assert.deepEqual(
    made.sent[1]?.upserts.map((each) => each.ID),
    ["b", "c"],
  );
});

test("a node that did not pull yet is not pushed to", async () => {
  const made = fixture();
  made.rows.push(allocation("a", 1));
  made.assignments.changed(["n1"]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(made.sent.length, 0);
});

test("a push that fails while the node is connected is tried again", async () => {
  const made = fixture();
  made.assignments.pull("n1", {});
  let failures = 1;
  made.answer = async () => {
    if (failures-- > 0) throw new RemoteError("busy", "disk is full");
  };
  made.rows.push(allocation("a", 1));
  made.assignments.changed(["n1"]);
  await eventually("a second try", () => made.sent.length === 2);
  assert.deepEqual(
    made.sent[1]?.upserts.map((each) => each.ID),
    ["a"],
  );
});

test("a node hears of everything again when an older state is put in force, at an index above all that it knows", async () => {
  const f = fixture();
  f.rows = [
    allocation("stays", 50),
    allocation("later", 90),
    allocation("ended", 60, { ClientStatus: "complete" }),
  ];
  f.assignments.pull("n1", {});
  f.rows = [
    allocation("stays", 40),
    allocation("ended", 45),
    allocation("never-seen", 30, { ClientStatus: "complete" }),
  ];
  f.restored = 120;
  f.assignments.changed(null);
  await eventually("a push", () => f.sent.length === 1);
  const [delta] = f.sent;
  assert.deepEqual(
    delta!.upserts.map(({ ID, AllocModifyIndex }) => [ID, AllocModifyIndex]),
    [
      ["stays", 120],
      ["ended", 120],
    ],
  );
  assert.deepEqual(delta!.removed, ["later"]);
  // One that was away brings what it knows of the state that is no more.
  const pulled = f.assignments.pull("n1", { stays: 100, later: 110 });
  assert.deepEqual(
    pulled.upserts.map(({ ID }) => ID),
    ["stays", "ended"],
  );
  assert.deepEqual(pulled.removed, ["later"]);
  assert.deepEqual(f.assignments.pull("n1", { stays: 120, ended: 120 }).upserts, []);
});
