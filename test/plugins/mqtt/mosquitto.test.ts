import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { eventually, MemoryAgentClient } from "@drover/plugin-sdk/testing";
import { connect, type MqttClient } from "mqtt";
import { Fixtures, freePort, TestServer, topics } from "./fixtures.js";

const run = promisify(execFile);
const PASSWORD = "a broker password";

/** The real broker, with the access list of the plugin's README. */
class Mosquitto {
  private child: ChildProcess | undefined;
  readonly url: string;
  readonly passwordFile: string;

  private constructor(
    private readonly folder: string,
    private readonly port: number,
  ) {
    this.url = `mqtt://127.0.0.1:${port}`;
    this.passwordFile = join(folder, "password");
  }

  static async create(folder: string, nodes: readonly string[]): Promise<Mosquitto> {
    const broker = new Mosquitto(folder, await freePort());
    const readme = await readFile(join(process.cwd(), "plugins/mqtt/README.md"), "utf8");
    const documented = /```\n(user drover-server\n[^`]*)```/.exec(readme)?.[1];
    assert.ok(documented !== undefined, "the README shows the access list");
    await writeFile(broker.passwordFile, PASSWORD, { mode: 0o600 });
    const users = join(folder, "users");
    await writeFile(users, "", { mode: 0o600 });
    const names = ["drover-server", "watcher", ...nodes];
    for (const name of names) await run("mosquitto_passwd", ["-b", users, name, PASSWORD]);
    await writeFile(join(folder, "acl"), `${documented}\nuser watcher\ntopic read #\n`);
    await writeFile(
      join(folder, "mosquitto.conf"),
      [
        `listener ${broker.port} 127.0.0.1`,
        "allow_anonymous false",
        `password_file ${users}`,
        `acl_file ${join(folder, "acl")}`,
        "max_queued_messages 0",
        `user ${userInfo().username}`,
        "",
      ].join("\n"),
    );
    await broker.start();
    return broker;
  }

  async start(): Promise<void> {
    this.child = spawn("mosquitto", ["-c", join(this.folder, "mosquitto.conf")], { stdio: "ignore" });
    const { child } = this;
    process.once("exit", () => child.kill("SIGKILL"));
    await once(child, "spawn");
    const deadline = performance.now() + 10_000;
    while (!(await this.listens())) {
      if (performance.now() > deadline) throw new Error("mosquitto doesn't listen");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  private listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connectTcp(this.port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
  }
}

describe("with mosquitto as the broker", () => {
  const suite = new Fixtures();
  const fixtures = new Fixtures();
  const nodes = Array.from({ length: 6 }, () => randomUUID());
  let broker: Mosquitto;

  before(async () => {
    const folder = await suite.folder();
    await mkdir(folder, { recursive: true });
    broker = await Mosquitto.create(folder, nodes);
  });
  afterEach(() => fixtures.close());
  after(async () => {
    await broker.stop();
    await suite.close();
  });

  const serverBroker = () => ({
    url: broker.url,
    username: "drover-server",
    password_file: broker.passwordFile,
  });
  const login = (nodeId: string) => ({
    nodeId,
    broker: { username: nodeId, password_file: broker.passwordFile },
  });

  async function watcher(): Promise<{ client: MqttClient; seen: { topic: string; payload: Buffer }[] }> {
    const client = connect(broker.url, { username: "watcher", password: PASSWORD, reconnectPeriod: 0 });
    fixtures.defer(() => client.endAsync(true));
    const seen: { topic: string; payload: Buffer }[] = [];
    client.on("message", (topic, payload) => seen.push({ topic, payload }));
    await client.subscribeAsync("#", { qos: 1 });
    return { client, seen };
  }

  it("carries calls and streams under the documented access list, and shows a watcher of every topic nothing", async () => {
    const { seen } = await watcher();
    const server = await fixtures.server({ broker: serverBroker() });
    const handler = new MemoryAgentClient();
    const log = "line-of-a-log ".repeat(20_000);
    handler.frames = async function* () {
      yield { File: "web.stdout.0", Offset: log.length, Data: Buffer.from(log) };
    };
    const token = server.joinToken();
    const agent = await fixtures.connected(server, { ...login(nodes[0]!), handler, token });
    const job = {
      Name: "payroll-web",
      TaskGroups: [{ Tasks: [{ Name: "frontend", Env: { DB_PASSWORD: "hunter2-of-prod" } }] }],
    };
    const upserts = [{ ID: randomUUID(), Job: job, Padding: "payroll-web".repeat(50_000) }] as never;
    await server.gateway.call(agent.nodeId, "assignment.changed", { index: 1, upserts, removed: [] });
    const small = [{ ID: randomUUID(), Job: job }] as never;
    await server.gateway.call(agent.nodeId, "assignment.changed", { index: 2, upserts: small, removed: [] });
    await agent.link.call("allocation.update", { updates: [{ TaskStates: { frontend: {} } }] as never });
    const read = { allocId: "a", path: "web.stdout.0", offset: 0, limit: 0 };
    const got: Uint8Array[] = [];
    for await (const frame of server.gateway.stream(
      agent.nodeId,
      "fs.read",
      read,
      new AbortController().signal,
    )) {
      got.push(frame.Data!);
    }
    assert.equal(Buffer.concat(got).toString(), log);

    await eventually("the watcher", () =>
      ["enroll", "up", "down", "status", "stream"].every((kind) =>
        seen.some((message) => message.topic.includes(`/${kind}/`)),
      ),
    );
    const secret = Buffer.from(token.slice("drover1.".length), "base64url").subarray(32);
    const needles = [
      "payroll",
      "frontend",
      "DB_PASSWORD",
      "hunter2",
      "line-of-a-log",
      "stdout",
      "assignment",
      "fs.read",
      secret,
      token,
    ];
    for (const { topic, payload } of seen) {
      for (const needle of needles) assert.equal(payload.includes(needle), false, `${needle} on ${topic}`);
    }
  });

  it("confines a node to its own topics", async () => {
    const [mine, other] = [nodes[1]!, nodes[2]!];
    const { seen } = await watcher();
    const asMine = { clientId: mine, username: mine, password: PASSWORD, reconnectPeriod: 0 };
    for (const topic of [
      topics.up(other),
      topics.status(other),
      topics.stream(other, 1),
      topics.down(other),
    ]) {
      // A connection for each, because mosquitto closes some over it.
      const trespasser = connect(broker.url, asMine);
      await new Promise<void>((resolve) => trespasser.once("connect", () => resolve()));
      trespasser.publish(topic, "x", { qos: 0 });
      await trespasser.endAsync();
    }
    const client = connect(broker.url, asMine);
    fixtures.defer(() => client.endAsync(true));
    const heard: string[] = [];
    client.on("message", (topic) => heard.push(topic));
    // mosquitto 2 grants such a subscription and then delivers nothing on it, so what counts is what arrives.
    for (const filter of ["#", topics.down(other), topics.up("+")]) {
      await client
        .subscribeAsync(filter)
        .catch((error: Error) => assert.match(error.message, /Unspecified|refused|128/i));
    }
    await client.subscribeAsync(topics.down(mine), { qos: 1 });
    await client.publishAsync(topics.up(mine), "last", { qos: 1 });
    await eventually("the allowed one", () => seen.some((message) => message.topic === topics.up(mine)));
    assert.deepEqual(
      seen.filter((message) => message.topic.includes(other)),
      [],
    );
    assert.deepEqual(
      heard.filter((topic) => topic !== topics.down(mine)),
      [],
    );
  });

  it("tells the server by the last will that a node vanished", async () => {
    const server = await fixtures.server({ broker: serverBroker() });
    const agent = await fixtures.connected(server, login(nodes[2]!));
    // Whoever connects under the node's id pushes its connection aside, as the node itself does after a crash.
    const usurper = connect(broker.url, {
      clientId: nodes[2]!,
      username: nodes[2]!,
      password: PASSWORD,
      reconnectPeriod: 0,
    });
    fixtures.defer(() => usurper.endAsync(true));
    await eventually("the will", () =>
      server.handler.connections.some((change) => change.nodeId === agent.nodeId && !change.connected),
    );
    await eventually(
      "the node to come back",
      () => agent.handler.connected && server.gateway.isConnected(agent.nodeId),
    );
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("finds its agents again after a server's restart that they didn't notice", async () => {
    const first = await TestServer.start({ broker: serverBroker() });
    const agent = await fixtures.connected(first, login(nodes[3]!));
    const { clusterKey, handler } = first;
    await first.close();
    assert.equal(agent.handler.connected, true);
    const second = await fixtures.server({ broker: serverBroker(), clusterKey, handler });
    await eventually(
      "a new session",
      () => second.gateway.isConnected(agent.nodeId) && agent.handler.changes.length === 3,
    );
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("carries a cluster whose leadership moves: the new leader takes over, and the old one hears nothing", async () => {
    const first = await TestServer.start({ broker: serverBroker() });
    fixtures.defer(() => first.close());
    const agent = await fixtures.connected(first, login(nodes[5]!));
    const { clusterKey, handler } = first;
    const second = await TestServer.create({ broker: serverBroker(), clusterKey, handler });
    fixtures.defer(() => second.close());
    assert.equal(second.gateway.shared, true);
    await first.gateway.unserve();
    await second.gateway.serve(handler);
    const received = first.gateway.stats().received;
    // The node learns from the next thing that it says.
    await eventually("a session with the new leader", async () => {
      await agent.link.call("node.heartbeat", { status: "ready" }, { timeout: 500 }).catch(() => undefined);
      return second.gateway.isConnected(agent.nodeId);
    });
    await eventually("the node knows", () => agent.handler.connected);
    await agent.link.call("node.heartbeat", { status: "ready" });
    assert.equal(first.gateway.isConnected(agent.nodeId), false);
    assert.equal(first.gateway.stats().received, received);
  });

  it("goes on after the broker was killed and started again", async () => {
    const server = await fixtures.server({ broker: serverBroker() });
    const agent = await fixtures.connected(server, login(nodes[4]!));
    await broker.stop("SIGKILL");
    await eventually("the link to go down", () => !agent.handler.connected);
    await broker.start();
    await eventually(
      "the link to come back",
      () => agent.handler.connected && agent.handler.changes.length >= 3,
    );
    await eventually("a call to pass", () => server.gateway.isConnected(agent.nodeId));
    await agent.link.call("node.heartbeat", { status: "ready" });
  });
});
