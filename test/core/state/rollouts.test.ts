/** Commands of deployments and drains, as the state machine applies them. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Allocation, Deployment, DeploymentState } from "@drover/plugin-sdk";
import { makeTask } from "@drover/plugin-sdk/testing";
import { type CommandPayloads, CommandRefused, CommandType } from "../../../core/state/index.js";
import {
  type Machine,
  makeAllocation,
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

function read<T>(use: (snapshot: ReturnType<Machine["store"]["view"]>) => T): T {
  using snapshot = machine.store.view();
  return use(snapshot);
}

function refusal(result: unknown): string {
  assert.ok(result instanceof CommandRefused, `expected a refusal, got ${String(result)}`);
  return result.message;
}

/** A deployment of job web with a canary, both placed. */
function trial(changes: Partial<DeploymentState> = {}): { deployment: Deployment; canary: Allocation } {
  machine.apply(registration(makeJob()));
  const deployment = makeDeployment();
  Object.assign(deployment.TaskGroups.app!, { DesiredCanaries: 1, ...changes });
  const canary = makeAllocation({
    DeploymentID: deployment.ID,
    DeploymentStatus: { Canary: true, Healthy: null, ModifyIndex: 0, Timestamp: "0001-01-01T00:00:00Z" },
  });
  machine.apply(plan({ Deployment: deployment, Placed: [canary] }));
  return { deployment, canary };
}

const health = (
  deployment: Deployment,
  changes: Partial<CommandPayloads[typeof CommandType.DeploymentAllocHealth]>,
) =>
  machine.run(CommandType.DeploymentAllocHealth, {
    DeploymentID: deployment.ID,
    HealthyAllocationIDs: [],
    UnhealthyAllocationIDs: [],
    Update: null,
    Evaluation: null,
    Job: null,
    Time: TIME + 1e9,
    ...changes,
  });
const promote = (deployment: Deployment, Groups?: string[]) =>
  machine.run(CommandType.DeploymentPromote, {
    DeploymentID: deployment.ID,
    All: Groups === undefined,
    Groups: Groups ?? [],
    Evaluation: makeEvaluation(),
    Time: TIME + 5e9,
  });
const status = (
  deployment: Deployment,
  Status: Deployment["Status"],
  changes: Partial<CommandPayloads[typeof CommandType.DeploymentStatusUpdate]> = {},
) =>
  machine.run(CommandType.DeploymentStatusUpdate, {
    Update: { DeploymentID: deployment.ID, Status, StatusDescription: `now ${Status}` },
    Evaluation: null,
    Job: null,
    Time: TIME + 9e9,
    ...changes,
  });

describe("promotion", () => {
  it("is refused while a canary is not healthy, leaves no trace, and then makes it one of the version", () => {
    const { deployment, canary } = trial();
    assert.equal(refusal(promote(deployment)), 'Task group "app" has 0/1 healthy allocations');
    assert.equal(read((s) => s.evaluationsByJob("default", "web")).length, 0);
    health(deployment, { HealthyAllocationIDs: [canary.ID] });
    assert.equal(promote(deployment), undefined);
    const row = read((s) => s.deployment(deployment.ID))!;
    assert.equal(row.TaskGroups.app?.Promoted, true);
    assert.equal(row.TaskGroups.app?.HealthyAllocs, 1);
    assert.equal(row.StatusDescription, "Deployment is running");
    assert.equal(
      row.TaskGroups.app?.RequireProgressBy,
      "2026-11-23T14:58:49Z",
      "its time begins with the promotion",
    );
    assert.equal(read((s) => s.allocation(canary.ID))?.DeploymentStatus?.Canary, false);
    assert.equal(read((s) => s.evaluationsByJob("default", "web")).length, 1);
    assert.equal(refusal(promote(deployment)), "no canaries to promote");
  });

  it("is refused for unknown groups and deployments", () => {
    const { deployment } = trial();
    assert.match(refusal(promote(deployment, ["nope"])), /has no task group "nope"/);
    assert.match(refusal(promote(makeDeployment())), /does not exist/);
  });
});

describe("status", () => {
  it("of a deployment that is over stays", () => {
    const { deployment } = trial();
    assert.equal(status(deployment, "failed"), undefined);
    assert.match(refusal(status(deployment, "running")), /has terminal status "failed"/);
    assert.match(refusal(health(deployment, {})), /has terminal status "failed"/);
  });

  it("resumed gives groups their whole deadline again", () => {
    const { deployment } = trial();
    status(deployment, "paused");
    status(deployment, "running");
    const row = read((s) => s.deployment(deployment.ID))!;
    assert.equal(row.TaskGroups.app?.RequireProgressBy, "2026-11-23T14:58:53Z");
  });

  it("with an earlier version registers that as the newest, unless the job is another by now", () => {
    const { deployment } = trial();
    const old = read((s) => s.job("default", "web"))!;
    const [group] = old.TaskGroups;
    const changed = { ...old, TaskGroups: [{ ...group!, Tasks: [makeTask()] }] };
    const evaluation = makeEvaluation();
    assert.equal(status(deployment, "failed", { Job: changed, Evaluation: evaluation }), undefined);
    const job = read((s) => s.job("default", "web"))!;
    assert.deepEqual([job.Version, job.Stable, job.TaskGroups[0]!.Tasks.length], [1, false, 1]);
    assert.equal(read((s) => s.evaluation(evaluation.ID))?.JobModifyIndex, job.JobModifyIndex);
    const late = makeDeployment();
    machine.apply(plan({ Deployment: late }));
    assert.match(refusal(status(late, "failed", { Job: old })), /there is nothing to revert/);
    assert.equal(read((s) => s.deployment(late.ID))?.Status, "running");
  });
});

describe("health decided by an operator", () => {
  it("counts, and takes the deployment's status along", () => {
    const { deployment, canary } = trial();
    health(deployment, {
      UnhealthyAllocationIDs: [canary.ID],
      Update: { DeploymentID: deployment.ID, Status: "failed", StatusDescription: "bad" },
    });
    const row = read((s) => s.deployment(deployment.ID))!;
    assert.deepEqual([row.Status, row.TaskGroups.app?.UnhealthyAllocs], ["failed", 1]);
    assert.equal(read((s) => s.allocation(canary.ID))?.DeploymentStatus?.Healthy, false);
  });

  it("is refused for unknown and for other allocations", () => {
    const { deployment } = trial();
    const other = makeAllocation();
    machine.apply(plan({ Placed: [other] }));
    assert.match(
      refusal(health(deployment, { HealthyAllocationIDs: [other.ID] })),
      /is not part of deployment/,
    );
    const { ID } = makeAllocation();
    assert.equal(refusal(health(deployment, { HealthyAllocationIDs: [ID] })), `unknown alloc "${ID}"`);
  });
});

describe("stability", () => {
  it("is said of a version that is kept, and of no other", () => {
    machine.apply(registration(makeJob()));
    const say = (JobVersion: number, Stable: boolean) =>
      machine.run(CommandType.JobStability, { Namespace: "default", JobID: "web", JobVersion, Stable });
    assert.equal(say(0, true), undefined);
    assert.equal(read((s) => s.job("default", "web"))?.Stable, true);
    say(0, false);
    assert.equal(read((s) => s.jobVersion("default", "web", 0))?.Stable, false);
    assert.equal(refusal(say(9, true)), 'job "web" in namespace "default" at version 9 not found');
  });
});

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
