import "reflect-metadata";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import {
  AgentInfo,
  AgentLink,
  AgentTransport,
  formatJoinToken,
  JoinTokens,
  Metrics,
} from "@drover/plugin-sdk";
import { eventually, MemoryAgentClient, MemoryAgentServer } from "@drover/plugin-sdk/testing";
import { Kernel } from "../../../core/kernel/index.js";
import { MqttConfig } from "../../../plugins/mqtt/config.js";
import plugin from "../../../plugins/mqtt/plugin.js";
import { Fixtures, noMetrics, recordingLog } from "./fixtures.js";

const fixtures = new Fixtures();
afterEach(() => fixtures.close());

interface Setup {
  readonly config?: object;
  readonly info?: Partial<AgentInfo>;
  readonly joinTokens?: JoinTokens;
}

async function boot({ config = {}, info = {}, joinTokens }: Setup) {
  const log = recordingLog();
  const kernel = new Kernel({ log, onFatal: (error) => assert.fail(error) });
  const agent = {
    nodeName: "test",
    region: "global",
    datacenter: "dc1",
    version: "0.1.0",
    devMode: false,
    dataDir: await fixtures.folder(),
    serverEnabled: true,
    clientEnabled: true,
    config: { bind_addr: "127.0.0.1", client: { servers: [] } },
    advertise: { http: "127.0.0.1:4646", rpc: "127.0.0.1:4647", serf: "127.0.0.1:4648" },
    ...info,
  } as unknown as AgentInfo;
  kernel.bind(AgentInfo, agent);
  kernel.bind(Metrics, noMetrics);
  if (joinTokens !== undefined) kernel.bind(JoinTokens, joinTokens);
  kernel.add(plugin, config);
  fixtures.defer(() => kernel.stop());
  await kernel.start();
  const transport = kernel.resolve<AgentTransport>(AgentTransport);
  const link = kernel.resolve<AgentLink>(AgentLink);
  return { kernel, transport, link, agent, log };
}

const anyPort = { broker: { listen: "127.0.0.1:0" } };

describe("the mqtt plugin", () => {
  it("connects the agent of the same process, which enrols by itself", async () => {
    const server = new MemoryAgentServer();
    let transport: AgentTransport | undefined;
    let ready = false;
    const joinTokens: JoinTokens = {
      issue: async () => {
        if (!ready) throw new Error("no leader");
        return formatJoinToken({
          clusterKey: transport!.clusterKeyPair()!.publicKey,
          secret: server.issue(),
        });
      },
    };
    const booted = await boot({ info: { devMode: true }, joinTokens });
    transport = booted.transport;
    await transport.createClusterKey();
    const handler = new MemoryAgentClient();
    const stateDir = join(booted.agent.dataDir, "client");
    await booted.link.open({ nodeId: randomUUID(), stateDir, region: "global", handler });
    await transport.serve(server);
    ready = true;
    await eventually("the link", () => handler.connected);
    assert.match(transport.brokerUrls()[0]!, /^mqtt:\/\/127\.0\.0\.1:\d+$/);
    assert.equal(
      booted.log.lines.some((line) => line.level === "warn" || line.level === "error"),
      false,
    );
    await booted.link.close();
  });

  it("keeps the cluster's key, private to its user, over restarts", async () => {
    const first = await boot({ config: anyPort });
    assert.equal(first.transport.clusterKeyPair(), undefined);
    await first.transport.createClusterKey();
    const key = Buffer.from(first.transport.clusterKeyPair()!.publicKey);
    const file = join(first.agent.dataDir, "server", "cluster-key");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal((await stat(join(first.agent.dataDir, "server"))).mode & 0o777, 0o700);
    await first.kernel.stop();
    await chmod(file, 0o644);
    const second = await boot({ config: anyPort, info: { dataDir: first.agent.dataDir } });
    assert.deepEqual(Buffer.from(second.transport.clusterKeyPair()!.publicKey), key);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.ok(second.log.lines.some((line) => line.message.includes("open to other users")));
    const secret = JSON.parse(await readFile(file, "utf8")).secret_key as string;
    assert.equal(JSON.stringify([first.log.lines, second.log.lines]).includes(secret), false);
  });

  it("takes over the cluster's key from another server and keeps its own aside", async () => {
    const cluster = await boot({ info: { devMode: true } });
    const pair = await cluster.transport.createClusterKey();
    const { transport, agent, kernel, log } = await boot({ config: anyPort });
    const own = await transport.createClusterKey();
    await transport.adoptClusterKey(pair);
    assert.deepEqual(transport.clusterKeyPair(), pair);
    const damaged = { publicKey: own.publicKey, secretKey: pair.secretKey };
    await assert.rejects(transport.adoptClusterKey(damaged), /damaged/);
    await transport.serve(new MemoryAgentServer());
    await assert.rejects(transport.adoptClusterKey(own), /while agents are served/);
    const file = join(agent.dataDir, "server", "cluster-key");
    const kept = `${file}.${Buffer.from(own.publicKey.subarray(0, 4)).toString("hex")}`;
    for (const each of [file, kept]) assert.equal((await stat(each)).mode & 0o777, 0o600);
    assert.ok(log.lines.some(({ level, message }) => level === "warn" && message.includes(kept)));
    await kernel.stop();
    const again = await boot({ config: anyPort, info: { dataDir: agent.dataDir } });
    assert.deepEqual(again.transport.clusterKeyPair(), pair);
  });

  it("doesn't serve without the cluster's key", async () => {
    const { transport } = await boot({ config: anyPort });
    await assert.rejects(transport.serve(new MemoryAgentServer()), /without the cluster's key/);
  });

  it("reads the join token from its file, and names the file when it is none", async () => {
    const server = new MemoryAgentServer();
    const { transport } = await boot({ config: anyPort, info: { clientEnabled: false } });
    await transport.createClusterKey();
    await transport.serve(server);
    const file = join(await fixtures.folder(), "token");
    await writeFile(file, "not a token");
    const config = { broker: { url: transport.brokerUrls()[0] }, join_token_file: file };
    const { link, agent, log } = await boot({ config, info: { serverEnabled: false } });
    const handler = new MemoryAgentClient();
    await link.open({ nodeId: randomUUID(), stateDir: agent.dataDir, region: "global", handler });
    await eventually("the complaint", () =>
      log.lines.some((line) => line.message.includes(`${file}: not a join token`)),
    );
    await writeFile(
      file,
      formatJoinToken({ clusterKey: transport.clusterKeyPair()!.publicKey, secret: server.issue() }),
    );
    await eventually("the link", () => handler.connected);
    await link.close();
  });

  it("binds what an agent doesn't run to objects that say so when they are used", async () => {
    const client = await boot({ info: { serverEnabled: false } });
    assert.throws(() => client.transport.brokerUrls(), /this agent runs without server \{ enabled = true \}/);
    await assert.rejects(client.transport.serve(new MemoryAgentServer()), /without server/);
    const server = await boot({ config: anyPort, info: { clientEnabled: false } });
    await assert.rejects(
      server.link.call("node.heartbeat", { status: "ready" }),
      /without client \{ enabled = true \}/,
    );
  });

  it("refuses an agent that knows no broker", async () => {
    const dataDir = await fixtures.folder();
    const { link } = await boot({
      info: { serverEnabled: false, dataDir },
      config: { join_token_file: join(dataDir, "token") },
    });
    const handler = new MemoryAgentClient();
    await assert.rejects(
      link.open({ nodeId: "n", stateDir: dataDir, region: "global", handler }),
      /no MQTT broker is known/,
    );
  });

  it("shows nobody between broker and agent anything of what they say", async () => {
    const server = new MemoryAgentServer();
    const { transport } = await boot({ config: anyPort, info: { clientEnabled: false } });
    await transport.createClusterKey();
    await transport.serve(server);
    const { port } = new URL(transport.brokerUrls()[0]!);
    const bytes: Buffer[] = [];
    const proxied = await wiretap(Number(port), bytes);
    const token = formatJoinToken({
      clusterKey: transport.clusterKeyPair()!.publicKey,
      secret: server.issue(),
    });
    const file = join(await fixtures.folder(), "token");
    await writeFile(file, token);
    const config = { broker: { url: `mqtt://127.0.0.1:${proxied}` }, join_token_file: file };
    const { link, agent } = await boot({ config, info: { serverEnabled: false } });
    const handler = new MemoryAgentClient();
    const nodeId = randomUUID();
    await link.open({ nodeId, stateDir: agent.dataDir, region: "global", handler });
    await eventually("the link", () => handler.connected && transport.isConnected(nodeId));
    const job = {
      Name: "payroll-web",
      TaskGroups: [{ Tasks: [{ Env: { DB_PASSWORD: "hunter2-of-prod" } }] }],
    };
    for (const size of [1, 100_000]) {
      const upserts = [{ Job: job, Padding: "payroll-web".repeat(size) }] as never;
      await transport.call(nodeId, "assignment.changed", { index: size, upserts, removed: [] });
    }
    await link.call("node.heartbeat", { status: "ready" });
    await link.close();
    const all = Buffer.concat(bytes);
    assert.ok(all.length > 2_000_000 && all.includes(nodeId), "the tap sees the connection");
    const secret = Buffer.from(token.slice("drover1.".length), "base64url").subarray(32);
    for (const needle of ["payroll", "DB_PASSWORD", "hunter2", "assignment", "heartbeat", token, secret]) {
      assert.equal(all.includes(needle), false, `${needle} crossed the wire`);
    }
  });
});

/** A proxy in front of the broker that keeps every byte of both directions; its port. */
async function wiretap(target: number, bytes: Buffer[]): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.on("data", (chunk: Buffer) => bytes.push(chunk));
      from.on("error", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  fixtures.defer(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

describe("the configuration", () => {
  const problems = (config: object): string[] =>
    MqttConfig.safeParse(config).error?.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`) ??
    [];

  it("takes blocks as HCL gives them and completes them", () => {
    const config = MqttConfig.parse({ broker: [{ listen: "[::]:1883", tls: [{ ca_file: "/ca.pem" }] }] });
    assert.equal(config.broker.embedded, true);
    assert.equal(config.broker.tls?.ca_file, "/ca.pem");
    assert.equal(config.broker.max_payload, 1024 * 1024);
    assert.equal(MqttConfig.parse({}).broker.embedded, true);
    assert.equal(MqttConfig.parse({ broker: { url: "mqtt://broker.example" } }).broker.embedded, false);
  });

  it("takes several brokers for an agent", () => {
    const { broker } = MqttConfig.parse({ broker: { urls: ["mqtt://a:1883", "mqtts://b:8883"] } });
    assert.deepEqual(broker.urls, ["mqtt://a:1883", "mqtts://b:8883"]);
    assert.match(problems({ broker: { urls: ["a:1883"] } })[0]!, /^broker\.urls\.0: must be an MQTT URL/);
  });

  it("names the key of every mistake", () => {
    assert.deepEqual(problems({ broker: { listen: "1883" } }), [
      'broker.listen: must be "host:port", for example "0.0.0.0:1883"',
    ]);
    assert.match(problems({ broker: { url: "http://x" } })[0]!, /^broker\.url: must be an MQTT URL/);
    assert.match(problems({ broker: { url: "mqtt://me:secret@x" } })[0]!, /^broker\.url: .*password_file/);
    assert.match(problems({ broker: { embedded: false } })[0]!, /^broker\.url: is needed/);
    assert.match(problems({ broker: { max_payload: 1_000 } })[0]!, /^broker\.max_payload/);
    assert.match(problems({ brokr: {} })[0]!, /brokr/);
  });
});
