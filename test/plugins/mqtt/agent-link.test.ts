import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { formatJoinToken } from "@drover/plugin-sdk";
import { eventually, MemoryAgentClient, MemoryAgentServer } from "@drover/plugin-sdk/testing";
import { Fixtures, TestServer } from "./fixtures.js";

const fixtures = new Fixtures();
afterEach(() => fixtures.close());

describe("an agent's link", () => {
  it("comes back by itself when its server restarts on the same port", async () => {
    const first = await TestServer.start();
    const agent = await fixtures.connected(first);
    const { port, clusterKey, handler } = first;
    await first.close();
    await eventually("the link to go down", () => !agent.handler.connected);
    await assert.rejects(agent.link.call("node.heartbeat", { status: "ready" }), { code: "unreachable" });
    const second = await fixtures.server({ port, clusterKey, handler });
    await eventually(
      "the link to come back",
      () => agent.handler.connected && second.gateway.isConnected(agent.nodeId),
    );
    await agent.link.call("node.heartbeat", { status: "ready" });
    assert.deepEqual(agent.handler.changes, [true, false, true]);
  });

  it("needs no token and keeps its key after it enrolled once", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const key = server.handler.keys.get(agent.nodeId);
    await agent.link.close();
    const { nodeId, stateDir } = agent;
    const again = await fixtures.agent({ url: server.url, nodeId, stateDir });
    await eventually("the link", () => again.handler.connected);
    assert.deepEqual(server.handler.keys.get(nodeId), key);
  });

  it("keeps its keys to its user, and closes a file that was open to others", async () => {
    const server = await fixtures.server();
    const stateDir = join(await fixtures.folder(), "state");
    const agent = await fixtures.connected(server, { stateDir });
    const file = join(stateDir, "agent-key.json");
    assert.equal((await stat(stateDir)).mode & 0o777, 0o700);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(stateDir), ["agent-key.json"]);
    await agent.link.close();
    await chmod(file, 0o644);
    const again = await fixtures.agent({ url: server.url, nodeId: agent.nodeId, stateDir });
    await eventually("the link", () => again.handler.connected);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.ok(
      again.log.lines.some((line) => line.level === "warn" && line.message.includes("open to other users")),
    );
  });

  it("asks again with the same key when the answer to its enrolment was lost", async () => {
    const handler = new MemoryAgentServer();
    const enroll = handler.enroll.bind(handler);
    let asked = 0;
    const keys = new Set<string>();
    handler.enroll = async (request) => {
      keys.add(Buffer.from(request.publicKey).toString("hex"));
      await enroll(request);
      if (++asked === 1) await new Promise(() => undefined);
    };
    const server = await fixtures.server({ handler });
    await fixtures.connected(server);
    assert.equal(asked, 2);
    assert.equal(keys.size, 1);
  });

  it("rejects at once without a key and a token, and names what to do", async () => {
    await assert.rejects(
      fixtures.agent({ url: "mqtt://127.0.0.1:1" }),
      /join_token_file .*DROVER_JOIN_TOKEN/,
    );
  });

  it("rejects at once when its key file is damaged or another node's, without showing the file", async () => {
    const url = "mqtt://127.0.0.1:1";
    const stateDir = await fixtures.folder();
    const file = join(stateDir, "agent-key.json");
    await writeFile(file, '{"secret_key": "c2VjcmV0", oops', { mode: 0o600 });
    await assert.rejects(fixtures.agent({ url, stateDir }), (error: Error) => {
      assert.match(error.message, /agent-key\.json is damaged/);
      assert.doesNotMatch(error.message, /c2VjcmV0/);
      return true;
    });
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    await agent.link.close();
    await writeFile(file, await readFile(join(agent.stateDir, "agent-key.json")), { mode: 0o600 });
    await assert.rejects(fixtures.agent({ url, stateDir, nodeId: randomUUID() }), /belongs to node/);
  });

  it("says what a refused token needs, without the token", async () => {
    const server = await fixtures.server();
    const token = formatJoinToken({
      clusterKey: server.gateway.clusterKeyPair()!.publicKey,
      secret: new Uint8Array(32),
    });
    const agent = await fixtures.agent({ url: server.url, token });
    await eventually("the refusal", () => agent.log.lines.some((line) => line.level === "error"));
    const line = agent.log.lines.find((line) => line.level === "error")!;
    assert.match(line.message, /unknown or has expired.*join_token_file/);
    for (const entry of [...agent.log.lines, ...server.log.lines]) {
      assert.equal(JSON.stringify(entry).includes(token.slice(8)), false);
    }
  });

  it("enrols anew with its token when the servers lost their data and their key", async () => {
    let server = await TestServer.start();
    const agent = await fixtures.connected(server, { token: () => server.joinToken() });
    const { port } = server;
    await server.close();
    server = await fixtures.server({ port });
    await eventually(
      "the link to come back",
      () => agent.handler.connected && server.gateway.isConnected(agent.nodeId),
    );
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("agrees on a new session when the servers fall silent while the broker stays", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    server.handler.answer = () => new Promise(() => undefined);
    await assert.rejects(agent.link.call("node.heartbeat", { status: "ready" }, { timeout: 30 }), {
      code: "timeout",
    });
    server.handler.answer = undefined;
    await eventually("a new session", () => agent.handler.changes.length === 3 && agent.handler.connected);
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("answers methods it doesn't know and bodies of another shape with an error", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const call = agent.link.call.bind(agent.link) as (method: string, body: object) => Promise<unknown>;
    await assert.rejects(call("node.explode", {}), { code: "unknown_method" });
    await assert.rejects(call("toString", {}), { code: "unknown_method" });
    await assert.rejects(call("node.heartbeat", { status: "fine" }), { code: "bad_request" });
    await assert.rejects(call("node.register", { node: [] }), { code: "bad_request" });
    assert.equal(server.handler.requests.length, 0);
  });

  it("refuses a body above 16 MiB before sending it", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const update = { ID: "x".repeat(17 * 1024 * 1024) } as never;
    await assert.rejects(agent.link.call("allocation.update", { updates: [update] }), { code: "too_large" });
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("holds a hundred and fifty links on one broker, through a restart", async () => {
    const first = await TestServer.start();
    const handlers = Array.from({ length: 150 }, () => new MemoryAgentClient());
    const folder = await fixtures.folder();
    const agents = await Promise.all(
      handlers.map((handler, index) =>
        fixtures.agent({
          url: first.url,
          token: first.joinToken(),
          handler,
          stateDir: join(folder, `${index}`),
        }),
      ),
    );
    await eventually("all links", () => handlers.every((handler) => handler.connected));
    const { port, clusterKey, handler } = first;
    await first.close();
    const second = await fixtures.server({ port, clusterKey, handler });
    await eventually("all links again", () =>
      agents.every(({ nodeId }) => second.gateway.isConnected(nodeId)),
    );
    await eventually("all agents to know", () => handlers.every((agent) => agent.connected));
    await Promise.all(agents.map(({ link }) => link.call("node.heartbeat", { status: "ready" })));
  });
});
