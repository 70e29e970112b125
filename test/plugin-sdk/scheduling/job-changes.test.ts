import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import { makeGroup, makeNode } from "@drover/plugin-sdk/testing";
import {
  again,
  cluster,
  envOf,
  placements,
  rolling,
  rollOut,
  running,
  service,
  stops,
  web,
} from "./support.js";

const DISTINCT = { LTarget: "", Operand: "distinct_hosts", RTarget: "true" };
const groups = (...names: string[]): Job => ({
  ...web({}),
  TaskGroups: names.map((Name) => makeGroup({ Name, Count: 2, Update: rolling() })),
});

describe("a changed job", () => {
  it("stops the groups that it no longer has", async () => {
    const leader = cluster(2);
    await leader.register(service, groups("a", "b"));
    await rollOut(leader);
    const next = leader.state.putJob(groups("a"));
    const run = await leader.run(service, again(next, { AnnotatePlan: true }));
    assert.deepEqual(
      stops(run).map(({ Name, why }) => [Name, why]),
      [
        ["web.b[0]", "alloc not needed due to job update"],
        ["web.b[1]", "alloc not needed due to job update"],
      ],
    );
    const updates = run.updated[0]!.PlanAnnotations!.DesiredTGUpdates!;
    assert.deepEqual([updates.b!.Stop, updates.a!.InPlaceUpdate], [2, 2]);
  });

  it("stops and starts a renamed group", async () => {
    const leader = cluster(2);
    await leader.register(service, groups("a"));
    await rollOut(leader);
    const run = await leader.register(service, groups("b"));
    assert.deepEqual(running(leader), ["1:web.b[0]", "1:web.b[1]"]);
    assert.ok(run.placed.every((one) => one.PreviousAllocation === undefined));
    await rollOut(leader);
  });

  it("is told apart from one of the same name and version that was purged", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2, Update: rolling({ Canary: 1 }) }));
    await rollOut(leader);
    const old = leader.deployment(web({}));
    leader.state.stopJob("default", "web", true);
    await leader.register(service, web({ Count: 2, Update: rolling() }));
    const deployment = leader.deployment(web({}));
    assert.notEqual(deployment.ID, old.ID);
    assert.equal(deployment.JobVersion, 0);
    await rollOut(leader);
    const created = leader.state.job("default", "web")!.CreateIndex;
    assert.ok(leader.live(web({})).every((one) => one.JobCreateIndex === created));
  });

  it("that is purged and comes back while it is rolled out is rolled out anew", async () => {
    const leader = cluster(2);
    const job = web({ Count: 2, Update: rolling() });
    await leader.register(service, job);
    const old = leader.deployment(job);
    leader.state.stopJob("default", "web", true);
    await leader.register(service, job);
    assert.equal(leader.state.deployment(old.ID)!.Status, "cancelled");
    assert.notEqual(leader.deployment(job).ID, old.ID);
    await rollOut(leader);
  });

  it("starts again where it was stopped", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    leader.state.stopJob("default", "web");
    await leader.run(service, again(web({}), { TriggeredBy: "job-deregister" }));
    const run = await leader.register(service, web({ Count: 2 }));
    assert.deepEqual(placements(run), [
      ["web.g[0]", 1, undefined],
      ["web.g[1]", 1, undefined],
    ]);
  });

  it("runs nothing at count 0, and comes back", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2, Update: rolling() }));
    await rollOut(leader);
    await leader.register(service, web({ Count: 0, Update: rolling() }));
    assert.deepEqual(running(leader), []);
    assert.equal(leader.state.deployments().length, 1);
    await leader.register(service, web({ Count: 1, Update: rolling() }));
    assert.deepEqual(running(leader), ["2:web.g[0]"]);
  });

  it("follows several versions at once to the newest", async () => {
    const leader = cluster(3);
    const job = (version: string) => web({ Count: 3, Tasks: envOf(version), Update: rolling() });
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    await leader.register(service, job("3"));
    assert.deepEqual(running(leader), ["0:web.g[1]", "0:web.g[2]", "2:web.g[0]"]);
    await rollOut(leader);
    assert.deepEqual(running(leader), ["2:web.g[0]", "2:web.g[1]", "2:web.g[2]"]);
  });
});

describe("names of allocations", () => {
  it("that two hold lose the older holder first when the group shrinks", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    const twin = leader.live(web({})).find((one) => one.Name === "web.g[0]")!;
    leader.state.putAllocation({ ...twin, ID: "00000000-0000-0000-0000-000000000001", CreateIndex: 0 });
    await leader.run(service, again(web({})));
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]"]);
    assert.equal(leader.state.allocation(twin.ID)!.DesiredStatus, "run");
  });

  it("that two hold come apart with the next update", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2, Tasks: envOf("1") }));
    const other = leader.live(web({})).find((one) => one.Name === "web.g[1]")!;
    leader.report(other.ID, { Name: "web.g[0]" });
    await leader.register(service, web({ Count: 2, Tasks: envOf("2") }));
    assert.deepEqual(running(leader), ["1:web.g[0]", "1:web.g[1]"]);
  });

  it("are not given twice where one of two holders is lost", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2, Constraints: [DISTINCT] }));
    const [kept, lost] = leader.live(web({}));
    leader.report(lost!.ID, { Name: kept!.Name });
    leader.state.putNode({ ...leader.state.node(lost!.NodeID)!, Status: "down" });
    leader.state.putNode(makeNode());
    await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]"]);
  });
});
