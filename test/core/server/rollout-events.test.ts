/** What event sinks are told of deployments and drains. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, paperNode } from "./bench-server.js";
import { latestDeployment, registration, service } from "./paper-agent.js";

test("promotion, failure and health of deployments, and drains, come as events with their objects", async (t) => {
  const seen = new Map<string, string>();
  const bench = new BenchServer(
    [],
    [
      {
        name: "recorder",
        publish: (_index, events) => {
          for (const { Topic, Type, Key, Payload } of events) {
            assert.ok(Payload[Topic] !== undefined, `${Topic}/${Type} carries its object`);
            seen.set(`${Topic}/${Type}`, Key);
          }
        },
      },
    ],
  );
  t.after(() => bench.stop());
  await bench.start();
  const node = paperNode();
  await bench.register(node);
  const { jobs, deployments, nodes } = bench.server.endpoints;
  await jobs.register(registration(service("web", 1)));
  await eventually("placed", () => bench.live("web").length === 1);
  const { ID } = latestDeployment(bench, "web")!;
  const [allocation] = bench.live("web");
  await deployments.pause(ID, true);
  await deployments.setHealth({ deploymentId: ID, healthy: [allocation!.ID], unhealthy: [] });
  await deployments.fail(ID);
  await nodes.setDrain({
    nodeId: node.ID,
    spec: { Deadline: 0, IgnoreSystemJobs: false },
    markEligible: false,
    meta: null,
  });
  assert.equal(seen.get("Deployment/DeploymentStatusUpdate"), ID);
  assert.equal(seen.get("Deployment/DeploymentAllocHealth"), ID);
  assert.equal(seen.get("Allocation/DeploymentAllocHealth"), allocation!.ID);
  assert.ok(seen.has("Evaluation/DeploymentStatusUpdate"));
  assert.equal(seen.get("Node/NodeDrain"), node.ID);
});
