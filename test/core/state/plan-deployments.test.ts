import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Allocation, DeploymentState, StateSnapshot } from "@drover/plugin-sdk";
import {
  type Machine,
  makeAllocation,
  makeDeployment,
  makeJob,
  openMachine,
  plan,
  registration,
  report,
} from "./support.js";

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

/** The allocation as the state has it. */
const stored = (allocation: Pick<Allocation, "ID">): Allocation =>
  read((snapshot) => snapshot.allocation(allocation.ID))!;
const groupOf = (id: string): DeploymentState => read((snapshot) => snapshot.deployment(id))!.TaskGroups.app!;
const healthy = { Canary: false, Healthy: true, ModifyIndex: 0, Timestamp: "2026-11-23T15:00:00Z" };

describe("plans with deployments", () => {
  it("count canaries by name, and health of theirs", () => {
    const deployment = makeDeployment();
    deployment.TaskGroups.app!.DesiredCanaries = 1;
    const canary = makeAllocation({
      DeploymentID: deployment.ID,
      DeploymentStatus: { Canary: true, Healthy: null, ModifyIndex: 0, Timestamp: "0001-01-01T00:00:00Z" },
    });
    const plain = makeAllocation({ DeploymentID: deployment.ID, Name: "web.app[1]" });
    machine.apply(plan({ Deployment: deployment, Placed: [canary, plain] }));
    assert.deepEqual(groupOf(deployment.ID).PlacedCanaries, [canary.ID]);
    assert.equal(groupOf(deployment.ID).PlacedAllocs, 2);
    machine.apply(report(canary, { DeploymentStatus: healthy }));
    assert.equal(stored(canary).DeploymentStatus!.Canary, true, "the servers say what a canary is");
    assert.deepEqual(
      [groupOf(deployment.ID).HealthyAllocs, groupOf(deployment.ID).RequireProgressBy],
      [1, "2026-11-23T15:10:00Z"],
    );
  });

  it("move an allocation into another deployment, in which its health counts anew", () => {
    const first = makeDeployment();
    const allocation = makeAllocation({ DeploymentID: first.ID });
    machine.apply(plan({ Deployment: first, Placed: [allocation] }));
    machine.apply(report(allocation, { DeploymentStatus: healthy }));
    machine.apply(registration(makeJob({ Priority: 70 })));
    const second = makeDeployment({ JobVersion: 1 });
    const moved = { ...stored(allocation), JobVersion: 1, DeploymentID: second.ID, DeploymentStatus: null };
    machine.apply(
      plan({
        Deployment: second,
        DeploymentUpdates: [
          {
            DeploymentID: first.ID,
            Status: "cancelled",
            StatusDescription: "Cancelled due to newer version of job",
          },
        ],
        Placed: [moved],
      }),
    );
    assert.equal(read((snapshot) => snapshot.deployment(first.ID))!.Status, "cancelled");
    assert.deepEqual([groupOf(first.ID).PlacedAllocs, groupOf(first.ID).HealthyAllocs], [1, 1]);
    assert.deepEqual([groupOf(second.ID).PlacedAllocs, groupOf(second.ID).HealthyAllocs], [1, 0]);
    assert.equal(stored(allocation).DeploymentStatus, null);
    assert.deepEqual(
      read((snapshot) => snapshot.allocationsByDeployment(second.ID)).map((one) => one.ID),
      [allocation.ID],
    );
    machine.apply(report(allocation, { DeploymentStatus: healthy }));
    assert.equal(groupOf(second.ID).HealthyAllocs, 1);
  });

  it("keep the health that a node decided on since the plan was made", () => {
    const deployment = makeDeployment();
    const allocation = makeAllocation({ DeploymentID: deployment.ID });
    machine.apply(plan({ Deployment: deployment, Placed: [allocation] }));
    const planned = stored(allocation);
    machine.apply(report(allocation, { DeploymentStatus: healthy }));
    machine.apply(plan({ Placed: [{ ...planned, FollowupEvalID: "later" }] }));
    assert.equal(stored(allocation).FollowupEvalID, "later");
    assert.equal(stored(allocation).DeploymentStatus!.Healthy, true);
    assert.equal(groupOf(deployment.ID).HealthyAllocs, 1);
  });

  it("do not bring back by an update what another job pushed aside meanwhile", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    const planned = stored(allocation);
    machine.apply(
      plan({
        Preempted: [
          {
            ID: allocation.ID,
            DesiredStatus: "evict",
            DesiredDescription: "Preempted by alloc ID p",
            PreemptedByAllocation: "p",
          },
        ],
      }),
    );
    machine.apply(plan({ Placed: [planned] }));
    const row = stored(allocation);
    assert.deepEqual(
      [row.DesiredStatus, row.DesiredDescription, row.PreemptedByAllocation],
      ["evict", "Preempted by alloc ID p", "p"],
    );
  });

  it("note when an allocation was lost, and which evaluation replaces it", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    machine.apply(
      plan({
        Stopped: [
          {
            ID: allocation.ID,
            DesiredStatus: "stop",
            DesiredDescription: "alloc is lost since its node is down",
            ClientStatus: "lost",
            FollowupEvalID: "later",
          },
        ],
      }),
    );
    const row = stored(allocation);
    assert.deepEqual([row.ClientStatus, row.FollowupEvalID], ["lost", "later"]);
    assert.deepEqual(row.AllocStates, [
      { Field: "ClientStatus", Value: "lost", Time: "2026-11-23T14:48:44Z" },
    ]);
  });
});
