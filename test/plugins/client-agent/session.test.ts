import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Node, RemoteError } from "@drover/plugin-sdk";
import { FakeLink, makeAllocation, shellTask, until } from "./fixtures.js";
import { startAgent, stopAgent, temporaryFolder } from "./harness.js";

test("the node registers in the recorded shape, with the same id after a restart", async () => {
  const dataDir = temporaryFolder();
  const first = await startAgent({ dataDir, devMode: true });
  await until("registered", () => first.link.nodes.length > 0);
  const node = first.link.nodes[0]!;
  const recorded: (keyof Node)[] = [
    "Attributes",
    "CSIControllerPlugins",
    "CSINodePlugins",
    "ComputedClass",
    "CreateIndex",
    "Datacenter",
    "Drain",
    "DrainStrategy",
    "Drivers",
    "Events",
    "HTTPAddr",
    "HostVolumes",
    "ID",
    "LastDrain",
    "Links",
    "Meta",
    "ModifyIndex",
    "Name",
    "NodeClass",
    "NodeResources",
    "Reserved",
    "ReservedResources",
    "Resources",
    "SchedulingEligibility",
    "SecretID",
    "Status",
    "StatusDescription",
    "StatusUpdatedAt",
    "TLSEnabled",
  ];
  assert.deepEqual(Object.keys(node).sort(), recorded.sort());
  for (const key of [
    "cpu.arch",
    "cpu.numcores",
    "cpu.frequency",
    "cpu.totalcompute",
    "memory.totalbytes",
    "kernel.name",
    "kernel.version",
    "os.name",
    "os.version",
    "os.signals",
    "unique.hostname",
    "unique.network.ip-address",
    "unique.storage.volume",
    "unique.storage.bytestotal",
    "unique.storage.bytesfree",
    "drover.version",
    "nomad.advertise.address",
  ]) {
    assert.ok((node.Attributes[key] ?? "") !== "", key);
  }
  assert.equal(node.Attributes["nomad.version"], "1.1.0");
  assert.equal(node.Attributes["driver.raw_exec"], "1");
  assert.deepEqual(node.Drivers.raw_exec?.Attributes, { "driver.raw_exec": "true" });
  assert.match(node.ComputedClass, /^v1:\d+$/);
  assert.equal(node.NodeResources.Networks?.[0]?.CIDR, "127.0.0.1/32");
  assert.equal(node.NodeResources.NodeNetworks?.[0]?.MacAddress, "");
  for (const name of ["client-id", "secret-id"]) {
    assert.equal(statSync(join(dataDir, "client", name)).mode & 0o777, 0o600);
  }
  await stopAgent(first);
  const second = await startAgent({ dataDir });
  assert.equal(second.agent.nodeId, node.ID);
  assert.equal(readFileSync(join(dataDir, "client/client-id"), "utf8").trim(), node.ID);
});

test("heartbeats keep the node, and one that the servers forgot registers again", async () => {
  const link = new FakeLink();
  link.heartbeatTTL = 100;
  const { agent } = await startAgent({ link });
  await until("several heartbeats", () => link.heartbeats > 3);
  assert.deepEqual(agent.health(), { ok: true, message: "ok" });
  const before = link.nodes.length;
  link.failNext = {
    method: "node.heartbeat",
    error: new RemoteError("unknown_node", "node is not registered"),
  };
  await until("registered again", () => link.nodes.length > before);
  assert.equal(agent.stats().node_id, agent.nodeId);
});

test("updates of one moment go out together", async () => {
  const { link, reported } = await startAgent();
  const allocations = Array.from({ length: 8 }, () =>
    makeAllocation([shellTask("work", "true")], { type: "batch" }),
  );
  await link.push(...allocations);
  for (const alloc of allocations) await reported(alloc.ID, "complete");
  assert.ok(
    link.batches.some((size) => size > 1),
    `batches of ${link.batches.join()}`,
  );
});

test("statistics have the recorded shape", async () => {
  const { link, reported } = await startAgent();
  const alloc = makeAllocation([shellTask("server", "sleep 600; true")]);
  await link.push(alloc);
  await reported(alloc.ID, "running");
  const usage = (await link.agent.handle("allocation.stats", { allocId: alloc.ID })) as {
    Tasks: Record<string, { Pids: object; ResourceUsage: { MemoryStats: { RSS: number } } }>;
    ResourceUsage: { DeviceStats: unknown };
  };
  assert.ok(Object.keys(usage.Tasks.server!.Pids).length >= 1);
  assert.ok(usage.Tasks.server!.ResourceUsage.MemoryStats.RSS > 0);
  assert.deepEqual(usage.ResourceUsage.DeviceStats, []);
  const host = (await link.agent.handle("node.stats", {})) as Record<string, unknown>;
  assert.deepEqual(Object.keys(host).sort(), [
    "AllocDirStats",
    "CPU",
    "CPUTicksConsumed",
    "DeviceStats",
    "DiskStats",
    "Memory",
    "Timestamp",
    "Uptime",
  ]);
});
