import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { StateSnapshot } from "@drover/plugin-sdk";
import { CommandType } from "../../../core/state/index.js";
import {
  type Machine,
  makeDeployment,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  TIME,
} from "./support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

function read<T>(look: (state: StateSnapshot) => T): T {
  using snapshot = machine.store.snapshot();
  return look(snapshot);
}

describe("collected jobs", () => {
  const dead = (ID: string) => {
    const evaluation = makeEvaluation({ JobID: ID, Status: "complete" });
    machine.apply(registration(makeJob({ ID }), evaluation));
    machine.run(CommandType.JobDeregister, {
      Namespace: "default",
      JobID: ID,
      Purge: false,
      Evaluation: null,
      Time: TIME,
    });
    machine.run(CommandType.EvaluationDelete, { EvalIDs: [evaluation.ID], AllocIDs: [] });
    return read((state) => state.job("default", ID))!;
  };
  const collect = (...jobs: { Namespace: string; ID: string; ModifyIndex: number }[]): unknown =>
    machine.run(CommandType.JobBatchDeregister, { Jobs: jobs });

  it("are gone with their versions and summary", () => {
    const job = dead("a");
    assert.equal(job.Status, "dead");
    collect(job);
    assert.equal(
      read((state) => state.job("default", "a")),
      null,
    );
    assert.deepEqual(
      read((state) => [state.jobVersions("default", "a"), state.jobSummary("default", "a")]),
      [[], null],
    );
  });

  it("stay when they changed or live since the collector looked, and unknown ones are no error", () => {
    const job = dead("a");
    machine.apply(registration(makeJob({ ID: "a", Priority: 70 })));
    machine.apply(registration(makeJob({ ID: "b" }), makeEvaluation({ JobID: "b" })));
    const alive = read((state) => state.job("default", "b"))!;
    collect(job, alive, { Namespace: "default", ID: "nope", ModifyIndex: 1 });
    assert.equal(
      read((state) => state.job("default", "a")?.Priority),
      70,
    );
    assert.notEqual(
      read((state) => state.job("default", "b")),
      null,
    );
  });
});

describe("collected nodes", () => {
  it("are gone when they are down as the collector saw them, and may enrol with their key again", () => {
    const [gone, back] = [makeNode(), makeNode()];
    machine.apply(
      nodeRegistration({ ...gone, Status: "down" }),
      nodeRegistration({ ...back, Status: "down" }),
    );
    const seen = [gone, back].map(({ ID }) => read((state) => state.node(ID))!);
    machine.apply(nodeRegistration({ ...back, Status: "ready" }));
    machine.run(CommandType.NodeCollect, {
      Nodes: [...seen, { ID: randomUUID(), ModifyIndex: 1 }].map(({ ID, ModifyIndex }) => ({
        ID,
        ModifyIndex,
      })),
    });
    assert.equal(
      read((state) => state.node(gone.ID)),
      null,
    );
    assert.equal(
      read((state) => state.node(back.ID)?.Status),
      "ready",
    );
  });
});

describe("collected deployments", () => {
  it("are gone, also from the list of their job", () => {
    machine.apply(registration(makeJob()));
    const [a, b] = [makeDeployment({ Status: "successful" }), makeDeployment({ Status: "failed" })];
    machine.apply(plan({ Deployment: a }), plan({ Deployment: b }));
    machine.run(CommandType.DeploymentDelete, { IDs: [a.ID, randomUUID()] });
    assert.equal(
      read((state) => state.deployment(a.ID)),
      null,
    );
    assert.deepEqual(
      read((state) => state.deploymentsByJob("default", "web").map(({ ID }) => ID)),
      [b.ID],
    );
  });
});

describe("collected join tokens", () => {
  it("are gone from the table and from memory, and stay gone", async () => {
    const hashes = ["ab".repeat(32), "cd".repeat(32)];
    for (const Hash of hashes)
      machine.run(CommandType.JoinTokenIssue, { Hash, Expires: TIME + 1e12, Time: TIME });
    machine.run(CommandType.JoinTokenDelete, { Hashes: [hashes[0]!, "ef".repeat(32)] });
    const known = () => hashes.map((hash) => machine.store.joinToken(hash) !== undefined);
    assert.deepEqual(known(), [false, true]);
    machine = await machine.reopen();
    assert.deepEqual(known(), [false, true]);
  });
});
