import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { reconcile } from "@drover/plugin-sdk/scheduling";
import { cluster, healthy, rolling, service, web } from "./support.js";

describe("the reconciler", () => {
  it("ends no deployment whose canaries are not promoted, though all runs its version", async () => {
    const leader = cluster(2);
    const job = web({ Count: 2, Update: rolling() });
    await leader.register(service, job);
    healthy(leader);
    const answer = (promoted: boolean) => {
      const deployment = leader.deployment(job);
      const group = { ...deployment.TaskGroups.g!, DesiredCanaries: 1, Promoted: promoted };
      return reconcile({
        job: leader.state.job("default", "web"),
        evaluationId: "evaluation",
        batch: false,
        allocations: leader.live(job),
        deployments: [{ ...deployment, TaskGroups: { g: group } }],
        newDeploymentId: "new",
        now: leader.now * 1e6,
        node: () => "up",
        updateKind: () => "ignore",
        followupWaits: () => false,
      }).deploymentUpdates.map((update) => update.Status);
    };
    assert.deepEqual(answer(false), []);
    assert.deepEqual(answer(true), ["successful"]);
  });
});
