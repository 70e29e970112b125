import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AllocClientStatus,
  AllocDesiredStatus,
  allocIndexOf,
  allocIsTerminal,
  allocName,
  allocRanSuccessfully,
  clientTerminal,
  type DeploymentState,
  DeploymentStatus,
  type DrainStrategy,
  deploymentActive,
  deploymentHasAutoPromote,
  deploymentNeedsPromotion,
  EvalStatus,
  evalShouldBlock,
  evalShouldEnqueue,
  evalTerminal,
  generateUUID,
  isUUID,
  jobParameterized,
  jobPeriodicActive,
  jobStopped,
  NodeEligibility,
  NodeStatus,
  nodeDrainEligible,
  nodeReady,
  nodeStatusNeedsEval,
  planIsNoOp,
  serverTerminal,
  type TaskState,
} from "@drover/plugin-sdk";

test("a generated id is a UUID and no two are equal", () => {
  const ids = Array.from({ length: 100 }, generateUUID);
  assert.ok(ids.every(isUUID));
  assert.equal(new Set(ids).size, ids.length);
});

test("ids that Nomad made are UUIDs whatever version bits they carry; prefixes and wrong layouts are not", () => {
  assert.equal(isUUID("1b2cb536-d176-7984-bab9-e6f02863b2c7"), true);
  assert.equal(isUUID("1b2cb536"), false);
  assert.equal(isUUID("1b2cb536d-176-7984-bab9-e6f02863b2c7"), false);
  assert.equal(isUUID("1b2cb536-d176-7984-bab9-e6f02863b2c7\n"), false);
});

test("an allocation's name carries its index back, even when job and group look like one", () => {
  assert.equal(allocName("web", "app", 0), "web.app[0]");
  assert.equal(allocIndexOf(allocName("a[7].b", "g[3]", 42)), 42);
  assert.equal(allocIndexOf("web.app"), -1);
  assert.equal(allocIndexOf("web.app[x]"), -1);
});

test("an allocation is terminal when either side is done with it", () => {
  for (const DesiredStatus of Object.values(AllocDesiredStatus)) {
    for (const ClientStatus of Object.values(AllocClientStatus)) {
      const server = DesiredStatus !== "run";
      const client = ClientStatus !== "pending" && ClientStatus !== "running";
      assert.equal(serverTerminal({ DesiredStatus }), server);
      assert.equal(clientTerminal({ ClientStatus }), client);
      assert.equal(allocIsTerminal({ DesiredStatus, ClientStatus }), server || client);
    }
  }
});

test("an allocation ran successfully only when every task ended without failure", () => {
  const state = (State: TaskState["State"], Failed: boolean): TaskState => ({
    Events: [],
    Failed,
    FinishedAt: null,
    LastRestart: null,
    Restarts: 0,
    StartedAt: null,
    State,
    TaskHandle: null,
  });
  assert.equal(allocRanSuccessfully({ TaskStates: null }), false);
  assert.equal(allocRanSuccessfully({ TaskStates: { a: state("dead", false) } }), true);
  assert.equal(
    allocRanSuccessfully({ TaskStates: { a: state("dead", false), b: state("dead", true) } }),
    false,
  );
  assert.equal(allocRanSuccessfully({ TaskStates: { a: state("running", false) } }), false);
});

test("a purged or stopped job is stopped", () => {
  assert.equal(jobStopped(null), true);
  assert.equal(jobStopped(undefined), true);
  assert.equal(jobStopped({ Stop: true }), true);
  assert.equal(jobStopped({ Stop: false }), false);
});

test("a parameterized template waits for a dispatch; its dispatched child and a periodic job run", () => {
  const ParameterizedJob = { MetaOptional: null, MetaRequired: null, Payload: "optional" } as const;
  const Periodic = {
    Enabled: true,
    ProhibitOverlap: false,
    Spec: "* * * * *",
    SpecType: "cron",
    TimeZone: "UTC",
  };
  assert.equal(jobParameterized({ ParameterizedJob, Dispatched: false }), true);
  assert.equal(jobParameterized({ ParameterizedJob, Dispatched: true }), false);
  const plain = { ParameterizedJob: null, Dispatched: false, Stop: false };
  assert.equal(jobPeriodicActive({ ...plain, Periodic }), true);
  assert.equal(jobPeriodicActive({ ...plain, Periodic: { ...Periodic, Enabled: false } }), false);
  assert.equal(jobPeriodicActive({ ...plain, Periodic, Stop: true }), false);
  assert.equal(jobPeriodicActive({ ...plain, Periodic, ParameterizedJob }), false);
});

test("every evaluation status belongs to exactly one of broker, blocked and terminal", () => {
  for (const Status of Object.values(EvalStatus)) {
    const places = [evalShouldEnqueue, evalShouldBlock, evalTerminal].filter((holds) => holds({ Status }));
    assert.equal(places.length, 1, Status);
  }
});

test("a deployment is active until it succeeded, failed or was cancelled", () => {
  const ended: string[] = [DeploymentStatus.Successful, DeploymentStatus.Failed, DeploymentStatus.Cancelled];
  for (const Status of Object.values(DeploymentStatus)) {
    assert.equal(deploymentActive({ Status }), !ended.includes(Status), Status);
  }
});

test("a deployment promotes itself only when every group that waits does", () => {
  const group = (DesiredCanaries: number, AutoPromote: boolean, Promoted = false): DeploymentState => ({
    AutoPromote,
    AutoRevert: false,
    DesiredCanaries,
    DesiredTotal: 2,
    HealthyAllocs: 0,
    PlacedAllocs: 0,
    PlacedCanaries: null,
    ProgressDeadline: 0,
    Promoted,
    RequireProgressBy: null,
    UnhealthyAllocs: 0,
  });
  assert.equal(deploymentNeedsPromotion({ TaskGroups: { a: group(0, false) } }), false);
  assert.equal(deploymentNeedsPromotion({ TaskGroups: { a: group(1, false, true) } }), false);
  assert.equal(deploymentNeedsPromotion({ TaskGroups: { a: group(1, false) } }), true);
  assert.equal(deploymentHasAutoPromote({ TaskGroups: { a: group(1, true), b: group(0, false) } }), true);
  assert.equal(deploymentHasAutoPromote({ TaskGroups: { a: group(1, true), b: group(1, false) } }), false);
  assert.equal(deploymentHasAutoPromote({ TaskGroups: { a: group(0, true) } }), false);
});

test("a node takes allocations only while ready, eligible and not draining", () => {
  const drain: DrainStrategy = { Deadline: 0, IgnoreSystemJobs: false, ForceDeadline: "", StartedAt: "" };
  for (const Status of Object.values(NodeStatus)) {
    for (const SchedulingEligibility of Object.values(NodeEligibility)) {
      for (const DrainStrategy of [null, drain]) {
        const want = Status === "ready" && SchedulingEligibility === "eligible" && DrainStrategy === null;
        assert.equal(nodeReady({ Status, SchedulingEligibility, DrainStrategy }), want);
      }
    }
  }
  assert.equal(nodeDrainEligible({ DrainStrategy: drain }), false);
  assert.equal(nodeDrainEligible({ DrainStrategy: null }), true);
});

test("jobs are evaluated again when a node goes down or becomes ready, not when its status stays", () => {
  assert.equal(nodeStatusNeedsEval("initializing", "ready"), true);
  assert.equal(nodeStatusNeedsEval("down", "ready"), true);
  assert.equal(nodeStatusNeedsEval("ready", "down"), true);
  assert.equal(nodeStatusNeedsEval("ready", "ready"), false);
  assert.equal(nodeStatusNeedsEval("down", "down"), false);
  assert.equal(nodeStatusNeedsEval("ready", "initializing"), false);
});

test("a plan with any change is not a no-op", () => {
  const empty = {
    NodeUpdate: {},
    NodeAllocation: {},
    NodePreemptions: {},
    Deployment: null,
    DeploymentUpdates: [],
  };
  assert.equal(planIsNoOp(empty), true);
  assert.equal(planIsNoOp({ ...empty, NodeUpdate: { n: [] } }), false);
  const update = { DeploymentID: "d", Status: "failed", StatusDescription: "" } as const;
  assert.equal(planIsNoOp({ ...empty, DeploymentUpdates: [update] }), false);
});
