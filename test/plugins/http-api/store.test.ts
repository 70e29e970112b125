/** The API on the real state store: what the fake one can't show. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import {
  type Machine,
  makeAllocation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
} from "../../core/state/support.js";
import { startApi } from "./harness.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

test("a list is one moment of the state, however long it takes to read", async () => {
  const node = makeNode();
  machine.apply(nodeRegistration(node), registration(makeJob()));
  const ids = Array.from({ length: 3000 }, () => randomUUID());
  machine.apply(plan({ Placed: ids.map((ID) => makeAllocation({ ID, NodeID: node.ID })) }));
  await using api = await startApi({ reader: machine.store });
  const answer = await api.get("/v1/allocations");
  const index = answer.headers.get("x-nomad-index");
  for (let i = 0; i < 50; i++) machine.apply(plan({ Placed: [makeAllocation({ NodeID: node.ID })] }));
  const rows = (await answer.json()) as { ID: string; JobType: string }[];
  assert.equal(index, "3");
  assert.deepEqual(rows.map(({ ID }) => ID).sort(), ids.sort());
  assert.equal(rows[0]?.JobType, "service");
  const later = (await (await api.get("/v1/allocations")).json()) as unknown[];
  assert.equal(later.length, 3050);
});

test("a hundred clients that wait for a job see its next version at once", async () => {
  machine.apply(registration(makeJob()));
  await using api = await startApi({ reader: machine.store });
  const waiting = Array.from({ length: 90 }, () => api.get("/v1/job/web?index=1&wait=60s"));
  const probe = await api.get("/v1/job/web");
  assert.equal(probe.headers.get("x-nomad-index"), "1");
  machine.apply(registration(makeJob({ Priority: 70 })));
  for (const answer of await Promise.all(waiting)) {
    assert.equal(answer.headers.get("x-nomad-index"), "2");
    assert.equal(((await answer.json()) as Job).Priority, 70);
  }
});

test("a node's secret never leaves the servers", async () => {
  const node = makeNode({ SecretID: "hush-hush" });
  machine.apply(nodeRegistration(node));
  await using api = await startApi({ reader: machine.store });
  for (const path of [`/v1/node/${node.ID}`, "/v1/nodes", "/v1/nodes?resources=true"]) {
    const answer = await api.get(path);
    assert.equal(answer.status, 200);
    assert.ok(!(await answer.text()).includes("hush-hush"), path);
  }
});
