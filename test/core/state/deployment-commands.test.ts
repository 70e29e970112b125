import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Allocation, Deployment, DeploymentState, StateSnapshot } from "@drover/plugin-sdk";
import { type CommandPayloads, CommandType } from "../../../core/state/index.js";
import {
  type Machine,
  makeAllocation,
  makeDeployment,
  makeEvaluation,
  makeJob,
  openMachine,
  plan,
  registration,
  report,
  TIME,
} from "./support.js";

/** One minute after `TIME`, and what is then the end of a deadline of ten minutes. */
const LATER = TIME + 60e9;
const LATER_DEADLINE = "2026-11-23T14:59:44Z";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
  machine.apply(registration(makeJob()));
});
afterEach(() => machine.close());

function read<T>(look: (snapshot: StateSnapshot) => T): T {
  using snapshot = machine.store.snapshot();
  return look(snapshot);
}

const rowOf = (id: string): Deployment => read((snapshot) => snapshot.deployment(id))!;
const groupOf = (id: string): DeploymentState => rowOf(id).TaskGroups.app!;
const allocationOf = (id: string): Allocation => read((snapshot) => snapshot.allocation(id))!;
const versions = (): [number, boolean][] =>
  read((snapshot) => snapshot.jobVersions("default", "web")).map((job) => [job.Version, job.Stable]);

const undecided = (Canary: boolean) => ({
  Canary,
  Healthy: null,
  ModifyIndex: 0,
  Timestamp: "0001-01-01T00:00:00Z",
});
const healthy = { Canary: false, Healthy: true, ModifyIndex: 0, Timestamp: "2026-11-23T14:49:00Z" };

/** A deployment of the present version with these allocations of it, canaries or not. */
function deployed(changes: Partial<DeploymentState>, ...canary: boolean[]): [string, Allocation[]] {
  const deployment = makeDeployment();
  Object.assign(deployment.TaskGroups.app!, changes);
  const rows = canary.map((is, at) =>
    makeAllocation({
      DeploymentID: deployment.ID,
      Name: `web.app[${at}]`,
      DeploymentStatus: undecided(is),
    }),
  );
  machine.apply(plan({ Deployment: deployment, Placed: rows }));
  return [deployment.ID, rows];
}

function setStatus(
  id: string,
  Status: Deployment["Status"],
  more: Partial<CommandPayloads[typeof CommandType.DeploymentStatusUpdate]> = {},
): unknown {
  return machine.run(CommandType.DeploymentStatusUpdate, {
    Update: { DeploymentID: id, Status, StatusDescription: `now ${Status}` },
    Evaluation: null,
    Job: null,
    Time: LATER,
    ...more,
  });
}

const promote = (id: string, Groups: string[] | null = null): unknown =>
  machine.run(CommandType.DeploymentPromote, {
    DeploymentID: id,
    All: Groups === null,
    Groups: Groups ?? [],
    Evaluation: null,
    Time: LATER,
  });

function setHealth(
  id: string,
  good: readonly Allocation[],
  bad: readonly Allocation[],
  more: Partial<CommandPayloads[typeof CommandType.DeploymentAllocHealth]> = {},
): unknown {
  return machine.run(CommandType.DeploymentAllocHealth, {
    DeploymentID: id,
    HealthyAllocationIDs: good.map(({ ID }) => ID),
    UnhealthyAllocationIDs: bad.map(({ ID }) => ID),
    Update: null,
    Evaluation: null,
    Job: null,
    Time: LATER,
    ...more,
  });
}

function refused(result: unknown, why: RegExp): void {
  assert.ok(result instanceof Error, "it was not refused");
  assert.match(result.message, why);
}

describe("a deployment's status", () => {
  it("is written with the evaluation that follows from it", () => {
    const [id] = deployed({});
    const evaluation = makeEvaluation({ TriggeredBy: "deployment-watcher", DeploymentID: id });
    assert.equal(setStatus(id, "failed", { Evaluation: evaluation }), undefined);
    const row = rowOf(id);
    assert.deepEqual([row.Status, row.StatusDescription], ["failed", "now failed"]);
    assert.equal(row.ModifyIndex, machine.store.index());
    const written = read((snapshot) => snapshot.evaluation(evaluation.ID));
    assert.equal(written?.CreateIndex, row.ModifyIndex, "both are one entry of the log");
  });

  it("marks the version stable on success alone", () => {
    const [first] = deployed({});
    setStatus(first, "failed");
    assert.deepEqual(versions(), [[0, false]]);
    const [second] = deployed({});
    setStatus(second, "successful");
    assert.deepEqual(versions(), [[0, true]]);
    assert.equal(read((snapshot) => snapshot.job("default", "web"))?.Stable, true);
  });

  it("does not change once the deployment is over, and is nothing for one that is unknown", () => {
    const [id] = deployed({});
    setStatus(id, "cancelled");
    const evaluation = makeEvaluation();
    refused(setStatus(id, "running", { Evaluation: evaluation }), /has terminal status "cancelled"/);
    assert.equal(rowOf(id).Status, "cancelled");
    assert.equal(
      read((snapshot) => snapshot.evaluation(evaluation.ID)),
      null,
    );
    const unknown = "11111111-2222-4333-8444-555555555555";
    refused(setStatus(unknown, "failed"), new RegExp(`deployment "${unknown}" does not exist`));
  });

  it("gives the groups their whole deadline again when a paused one goes on, and only then", () => {
    const [id] = deployed({}, false);
    assert.equal(groupOf(id).RequireProgressBy, "2026-11-23T14:58:44Z");
    setStatus(id, "paused");
    assert.equal(groupOf(id).RequireProgressBy, "2026-11-23T14:58:44Z");
    setStatus(id, "running");
    assert.equal(groupOf(id).RequireProgressBy, LATER_DEADLINE);
    const [fresh] = deployed({});
    setStatus(fresh, "paused");
    setStatus(fresh, "running");
    assert.equal(groupOf(fresh).RequireProgressBy, null, "nothing is placed, so no clock runs");
  });

  it("of a failure brings the job back as its next version, in the same entry", () => {
    setStatus(deployed({})[0], "successful");
    const stable = read((snapshot) => snapshot.job("default", "web"))!;
    machine.apply(registration(makeJob({ Priority: 70 })));
    const second = makeDeployment({ JobVersion: 1 });
    machine.apply(plan({ Deployment: second }));
    const evaluation = makeEvaluation({ DeploymentID: second.ID });
    setStatus(second.ID, "failed", { Job: stable, Evaluation: evaluation });
    const job = read((snapshot) => snapshot.job("default", "web"))!;
    assert.deepEqual([job.Version, job.Priority, job.Stable], [2, 50, false]);
    assert.deepEqual(versions(), [
      [2, false],
      [1, false],
      [0, true],
    ]);
    assert.equal(
      read((snapshot) => snapshot.evaluation(evaluation.ID))?.JobModifyIndex,
      job.JobModifyIndex,
      "the evaluation is of what the job is now",
    );
  });

  it("of a failure brings nothing back over a version that was registered meanwhile", () => {
    setStatus(deployed({})[0], "successful");
    const stable = read((snapshot) => snapshot.job("default", "web"))!;
    machine.apply(registration(makeJob({ Priority: 70 })));
    const second = makeDeployment({ JobVersion: 1 });
    machine.apply(plan({ Deployment: second }));
    machine.apply(registration(makeJob({ Priority: 80 })));
    refused(setStatus(second.ID, "failed", { Job: stable }), /was changed since version 1/);
    assert.equal(rowOf(second.ID).Status, "running");
    assert.equal(read((snapshot) => snapshot.job("default", "web"))?.Priority, 80);
  });
});

describe("promotion of canaries", () => {
  it("makes them plain allocations and starts the deadline anew", () => {
    const [id, [canary]] = deployed({ DesiredCanaries: 1 }, true);
    machine.apply(report(canary!, { DeploymentStatus: healthy }));
    assert.equal(promote(id), undefined);
    assert.deepEqual([groupOf(id).Promoted, groupOf(id).RequireProgressBy], [true, LATER_DEADLINE]);
    assert.deepEqual(groupOf(id).PlacedCanaries, [canary!.ID], "which they were stays known");
    assert.equal(groupOf(id).HealthyAllocs, 1);
    const row = allocationOf(canary!.ID);
    assert.deepEqual([row.DeploymentStatus?.Canary, row.DeploymentStatus?.Healthy], [false, true]);
    assert.equal(rowOf(id).StatusDescription, "Deployment is running");
  });

  it("waits until as many are healthy as the group wants", () => {
    const [id, rows] = deployed({ DesiredCanaries: 2 }, true, true);
    machine.apply(report(rows[0]!, { DeploymentStatus: healthy }));
    refused(promote(id), /Task group "app" has 1\/2 healthy allocations/);
    assert.equal(groupOf(id).Promoted, false);
    assert.equal(allocationOf(rows[0]!.ID).DeploymentStatus?.Canary, true);
  });

  it("is refused for groups without canaries, unknown groups, a second time, and when it is over", () => {
    const [plain] = deployed({}, false);
    refused(promote(plain), /no canaries to promote/);
    const [id, [canary]] = deployed({ DesiredCanaries: 1 }, true);
    machine.apply(report(canary!, { DeploymentStatus: healthy }));
    refused(promote(id, ["nope"]), /has no task group "nope"/);
    refused(promote(id, ["toString"]), /has no task group "toString"/);
    assert.equal(promote(id, ["app"]), undefined);
    refused(promote(id), /no canaries to promote/);
    setStatus(id, "failed");
    refused(promote(id), /has terminal status "failed"/);
  });

  it("of some groups leaves the deployment waiting for the others", () => {
    const deployment = makeDeployment();
    const app = { ...deployment.TaskGroups.app!, DesiredCanaries: 1 };
    deployment.TaskGroups = { app, db: { ...app } };
    const canary = makeAllocation({
      DeploymentID: deployment.ID,
      DeploymentStatus: undecided(true),
    });
    machine.apply(plan({ Deployment: deployment, Placed: [canary] }));
    machine.apply(report(canary, { DeploymentStatus: healthy }));
    refused(promote(deployment.ID), /Task group "db" has 0\/1 healthy allocations/);
    assert.equal(promote(deployment.ID, ["app"]), undefined);
    const row = rowOf(deployment.ID);
    assert.deepEqual([row.TaskGroups.app?.Promoted, row.TaskGroups.db?.Promoted], [true, false]);
    assert.equal(row.StatusDescription, "Deployment is running but requires manual promotion");
  });
});

describe("health that an operator decides", () => {
  it("is counted like that which nodes report, with the time of the decision", () => {
    const [id, rows] = deployed({ DesiredTotal: 3 }, false, false, true);
    assert.equal(setHealth(id, [rows[0]!, rows[2]!], [rows[1]!]), undefined);
    const { HealthyAllocs, UnhealthyAllocs } = groupOf(id);
    assert.deepEqual([HealthyAllocs, UnhealthyAllocs], [2, 1]);
    const { DeploymentStatus } = allocationOf(rows[2]!.ID);
    assert.deepEqual(DeploymentStatus, {
      Canary: true,
      Healthy: true,
      ModifyIndex: machine.store.index(),
      Timestamp: "2026-11-23T14:49:44Z",
    });
    setHealth(id, [rows[1]!], []);
    assert.deepEqual([groupOf(id).HealthyAllocs, groupOf(id).UnhealthyAllocs], [3, 0], "a change of mind");
  });

  it("and the status that follows from it are in one row", () => {
    const [id, [allocation]] = deployed({}, false);
    const Update = { DeploymentID: id, Status: "failed", StatusDescription: "Failed" } as const;
    setHealth(id, [], [allocation!], { Update });
    assert.deepEqual([rowOf(id).Status, groupOf(id).UnhealthyAllocs], ["failed", 1]);
  });

  it("is refused whole when one allocation is unknown or another deployment's", () => {
    const [id, [own]] = deployed({}, false);
    const [, [other]] = deployed({}, false);
    refused(setHealth(id, [own!, other!], []), new RegExp(`alloc "${other!.ID}" is not part of deployment`));
    refused(setHealth(id, [own!], [makeAllocation()]), /unknown alloc/);
    assert.equal(groupOf(id).HealthyAllocs, 0);
    assert.equal(allocationOf(own!.ID).DeploymentStatus?.Healthy, null);
  });
});

describe("stability of a version", () => {
  const mark = (JobVersion: number, Stable: boolean, JobID = "web"): unknown =>
    machine.run(CommandType.JobStability, { Namespace: "default", JobID, JobVersion, Stable });

  it("is set and taken back on that version alone, the present job included", () => {
    machine.apply(registration(makeJob({ Priority: 70 })));
    assert.equal(mark(0, true), undefined);
    assert.deepEqual(versions(), [
      [1, false],
      [0, true],
    ]);
    assert.equal(read((snapshot) => snapshot.job("default", "web"))?.Stable, false);
    mark(1, true);
    assert.equal(read((snapshot) => snapshot.job("default", "web"))?.Stable, true);
    mark(0, false);
    mark(1, false);
    assert.deepEqual(versions(), [
      [1, false],
      [0, false],
    ]);
    assert.equal(read((snapshot) => snapshot.job("default", "web"))?.Stable, false);
  });

  it("is refused for versions and jobs that there are not", () => {
    refused(mark(9, true), /job "web" in namespace "default" at version 9 not found/);
    refused(mark(0, true, "nope"), /job "nope" in namespace "default" at version 0 not found/);
  });
});
