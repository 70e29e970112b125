import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Allocation, type NodeListStub, NodeScorer } from "@drover/plugin-sdk";
import { eventually, makeNode, nodeScorerConformance } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "../integration/cluster.js";
import { run } from "../integration/process.js";
import { exampleFile, loadExample } from "./load-example.js";

const scorer = await loadExample("carbon-aware", NodeScorer);

nodeScorerConformance("carbon", {
  create: () => scorer,
  nodes: () =>
    ["31", "450", "", "210.5", "coal"].map((carbon_intensity) => makeNode({ Meta: { carbon_intensity } })),
});

describe("an agent with the carbon-aware plugin", () => {
  const marker = uniqueSleep();
  let cluster: Cluster;
  before(async () => {
    cluster = await Cluster.create();
    cluster.mark(marker);
    await cluster.startServer(`plugin "carbon-aware" {\n  source = "${exampleFile("carbon-aware")}"\n}`);
    // The dirty node comes first, so that order alone would choose it.
    await cluster.startClient('  meta {\n    carbon_intensity = "480"\n  }\n');
    await cluster.startClient('  meta {\n    carbon_intensity = "31"\n  }\n', "green");
  });
  after(() => cluster.destroy());

  test("places jobs that name it on the greenest node, and shows its score", {
    timeout: 60_000,
  }, async () => {
    const nodes = (await cluster.get<NodeListStub[]>("/nodes")) ?? [];
    const green = nodes.find((node) => node.Name === "green");
    assert.ok(green !== undefined);
    await cluster.register({ ...sleepJob("render", 3, marker), Meta: { "drover.scorers": "carbon=3" } });
    const placed = await eventually("three allocations", async () => {
      const list = await cluster.allocations("render");
      return list.length === 3 && list;
    });
    assert.deepEqual(
      placed.map((allocation) => allocation.NodeID),
      [green.ID, green.ID, green.ID],
    );
    const allocation = await cluster.get<Allocation>(`/allocation/${placed[0]!.ID}`);
    const [best] = allocation?.Metrics?.ScoreMetaData ?? [];
    assert.equal(best?.NodeID, green.ID);
    assert.equal(best?.Scores?.carbon, 3);
    const { code, output } = await run([
      "alloc",
      "status",
      "-verbose",
      `-address=${cluster.address}`,
      placed[0]!.ID,
    ]);
    assert.equal(code, 0, output);
    assert.match(output, /Placement Metrics/);
    assert.match(output, /carbon/);
  });

  test("leaves jobs alone that don't", { timeout: 60_000 }, async () => {
    await cluster.register(sleepJob("plain", 1, marker));
    const [stub] = await eventually("an allocation", async () => {
      const list = await cluster.allocations("plain");
      return list.length === 1 && list;
    });
    const allocation = await cluster.get<Allocation>(`/allocation/${stub!.ID}`);
    assert.equal(allocation?.Metrics?.ScoreMetaData?.[0]?.Scores?.carbon, undefined);
  });
});
