import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { afterEach, describe, it } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Kind, NO_SESSION, sealBox } from "../../../plugins/mqtt/envelope.js";
import { createKeyPair, KeyAgreement } from "../../../plugins/mqtt/keys.js";
import { Fixtures, type TestAgent, TestServer, topics } from "./fixtures.js";

const fixtures = new Fixtures();
afterEach(() => fixtures.close());

async function heartbeat(agent: TestAgent): Promise<void> {
  const answer = await agent.link.call("node.heartbeat", { status: "ready" });
  assert.equal(answer.heartbeatTTL, 10_000);
}

function warnings(server: TestServer, reason: string): number {
  return server.log.lines.filter((line) => line.level === "warn" && line.fields.reason === reason).length;
}

describe("a server with a hostile broker", () => {
  const bad: [string, (payload: Buffer) => Buffer][] = [
    ["forged", (payload) => Buffer.concat([payload.subarray(0, 2), randomBytes(payload.length - 2)])],
    ["truncated", (payload) => payload.subarray(0, 60)],
    ["malformed", (payload) => Buffer.concat([Uint8Array.of(9), payload.subarray(1)])],
    ["oversized", (payload) => Buffer.concat([payload, Buffer.alloc(600_000)])],
  ];
  for (const [reason, spoil] of bad) {
    it(`counts ${reason} payloads, logs the first one, ignores all, and goes on`, async () => {
      const server = await fixtures.server();
      const agent = await fixtures.connected(server);
      const topic = topics.up(agent.nodeId);
      const sample = server.carrier.up.find((message) => message.topic === topic)!.payload;
      const asked = server.handler.requests.length;
      for (let count = 0; count < 25; count++) server.carrier.inject(topic, spoil(sample));
      assert.equal(server.refused(reason), 25);
      assert.equal(warnings(server, reason), 1);
      assert.equal(server.handler.requests.length, asked);
      assert.equal(server.gateway.isConnected(agent.nodeId), true);
      await heartbeat(agent);
    });
  }

  it("drops a redelivered payload quietly", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    await heartbeat(agent);
    const asked = server.handler.requests.length;
    const before = server.refused("duplicates");
    const { topic, payload } = server.carrier.up.at(-1)!;
    server.carrier.inject(topic, payload);
    assert.equal(server.refused("duplicates"), before + 1);
    assert.equal(server.handler.requests.length, asked);
    assert.equal(
      server.log.lines.some((line) => line.level === "warn"),
      false,
    );
    await heartbeat(agent);
  });

  it("ignores everything recorded from an earlier session, also of before its restart", async () => {
    const { port } = await withoutServer();
    const first = await TestServer.start({ port });
    const agent = await fixtures.connected(first);
    await heartbeat(agent);
    const recorded = [...first.carrier.up];
    await first.close();
    await eventually("the link to go down", () => !agent.handler.connected);

    const { clusterKey, handler } = first;
    const second = await fixtures.server({ port, clusterKey, handler });
    const before = handler.connections.length;
    const asked = handler.requests.length;
    for (const { topic, payload } of recorded) second.carrier.inject(topic, payload);
    assert.equal(handler.connections.length, before, "a recording must not connect the node");
    assert.equal(handler.requests.length, asked);
    assert.ok(second.refused("replayed") > 0);

    await eventually(
      "the link to come back",
      () => agent.handler.connected && second.gateway.isConnected(agent.nodeId),
    );
    await heartbeat(agent);
    const answered = handler.requests.length;
    for (const { topic, payload } of recorded) second.carrier.inject(topic, payload);
    assert.equal(handler.requests.length, answered);
    assert.equal(second.gateway.isConnected(agent.nodeId), true);
    await heartbeat(agent);
  });

  it("ignores payloads moved to another node's topics, and those of strangers", async () => {
    const server = await fixtures.server();
    const [one, two] = [await fixtures.connected(server), await fixtures.connected(server)];
    await heartbeat(one);
    const asked = server.handler.requests.length;
    const own = server.carrier.up.filter((message) => message.topic === topics.up(one.nodeId));
    for (const { payload } of own) server.carrier.inject(topics.up(two.nodeId), payload);
    assert.equal(server.refused("forged"), own.length);
    for (const { payload } of own) server.carrier.inject(topics.up("nobody"), payload);
    assert.equal(server.refused("unknown_node"), own.length);
    assert.equal(server.handler.requests.length, asked);
  });

  it("believes a last will only of the connection that it was sealed for", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const status = topics.status(agent.nodeId);
    const stranger = new KeyAgreement(createKeyPair().secretKey).sharedKey(
      server.gateway.clusterKeyPair()!.publicKey,
    );
    const header = { kind: Kind.will, agentSession: randomBytes(16), serverSession: NO_SESSION, counter: 0 };
    server.carrier.inject(status, sealBox(stranger, status, header, Buffer.alloc(0)));
    server.carrier.inject(status, Buffer.from("offline"));
    assert.equal(server.gateway.isConnected(agent.nodeId), true);
    await heartbeat(agent);
  });

  it("doesn't learn a key from an enrolment that somebody altered or sent under another node's name", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const { topic, payload } = server.carrier.up.find((message) => message.topic.includes("/enroll/"))!;
    const key = server.handler.keys.get(agent.nodeId);
    server.carrier.inject(topics.enroll("other"), payload);
    const altered = Buffer.from(payload);
    altered[40]! ^= 1;
    server.carrier.inject(topic, altered);
    assert.equal(server.refused("forged"), 2);
    server.carrier.inject(topic, payload);
    await heartbeat(agent);
    assert.equal(server.handler.keys.size, 1);
    assert.deepEqual(server.handler.keys.get(agent.nodeId), key);
  });

  async function withoutServer(): Promise<{ port: number }> {
    const probe = await TestServer.start();
    const { port } = probe;
    await probe.close();
    return { port };
  }
});

describe("an agent with a hostile broker", () => {
  it("counts what is forged, truncated or replayed, logs each once, and goes on", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    await heartbeat(agent);
    const { payload } = server.carrier.down.at(-1)!;
    const send = (bytes: Buffer): void => server.carrier.injectDown(agent.nodeId, bytes);
    for (let count = 0; count < 5; count++) {
      send(Buffer.concat([payload.subarray(0, 2), randomBytes(payload.length - 2)]));
      send(payload.subarray(0, 50));
      send(payload);
    }
    await eventually("the refusals", () => (agent.link.refused().duplicates ?? 0) >= 5);
    assert.equal(agent.link.refused().forged, 5);
    assert.equal(agent.link.refused().truncated, 5);
    const logged = agent.log.lines.filter((line) => line.level === "warn").map((line) => line.fields.reason);
    assert.deepEqual(logged.sort(), ["forged", "truncated"]);
    await heartbeat(agent);
  });

  it("isn't led back by answers to an earlier handshake", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    await heartbeat(agent);
    const old = server.carrier.down.filter((message) => message.nodeId === agent.nodeId);
    const { port, clusterKey, handler } = server;
    await server.close();
    await eventually("the link to go down", () => !agent.handler.connected);
    const second = await fixtures.server({ port, clusterKey, handler });
    await eventually(
      "the link to come back",
      () => agent.handler.connected && second.gateway.isConnected(agent.nodeId),
    );
    let asked = 0;
    agent.handler.answer = async () => ++asked;
    for (const { payload } of old) second.carrier.injectDown(agent.nodeId, payload);
    await heartbeat(agent);
    assert.equal(asked, 0);
    assert.equal(second.gateway.isConnected(agent.nodeId), true);
  });
});
