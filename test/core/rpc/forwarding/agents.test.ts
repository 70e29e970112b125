import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { describe, it, type TestContext } from "node:test";
import type {
  AgentMethods,
  AllocationUpdate,
  AssignmentDelta,
  FileFrame,
  JobRegistration,
  ServerConfiguration,
} from "@drover/plugin-sdk";
import { eventually, MemoryAgentClient } from "@drover/plugin-sdk/testing";
import { paperJob } from "../../server/bench-server.js";
import { type ConnectedAgent, type Member, TestCluster } from "./cluster.js";

const TTL = 60_000;

const registration = (job: object): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
});

async function started(
  t: TestContext,
  settings: Partial<ServerConfiguration> = {},
  schedulers?: number,
): Promise<TestCluster> {
  const cluster = await TestCluster.start(settings, schedulers);
  t.after(() => cluster.stop());
  return cluster;
}

/** An agent that keeps what it is assigned. */
class AssignedClient extends MemoryAgentClient {
  readonly assigned = new Map<string, number>();

  constructor() {
    super();
    this.answer = async (method, request) => {
      if (method === "assignment.changed") this.take(request as AssignmentDelta);
      return method === "assignment.changed"
        ? { index: (request as AssignmentDelta).index }
        : { method, request };
    };
  }

  take(delta: AssignmentDelta): void {
    for (const { ID, AllocModifyIndex } of delta.upserts) this.assigned.set(ID, AllocModifyIndex);
    for (const id of delta.removed) this.assigned.delete(id);
  }
}

/** Connects to the broker of `member`, registers and pulls. */
async function connect(
  cluster: TestCluster,
  member: Member,
  handler: MemoryAgentClient = new AssignedClient(),
): Promise<ConnectedAgent> {
  const token = await member.endpoints.operator.issueJoinToken(TTL);
  const agent = await cluster.agent(() => [member.url], token, handler);
  await agent.link.call("node.register", { node: agent.node });
  const delta = await agent.link.call("assignment.pull", { known: {} });
  if (handler instanceof AssignedClient) handler.take(delta);
  return agent;
}

function nodeStatus(member: Member, id: string): string | undefined {
  using snapshot = member.bench.state.snapshot();
  return snapshot.node(id)?.Status;
}

describe("agents of a server that does not lead", () => {
  it("enrol, register, are told what to run and report it", async (t) => {
    const cluster = await started(t, {}, 0);
    const [leader, follower] = cluster.members as [Member, Member, Member];
    const handler = new AssignedClient();
    const { link, node } = await connect(cluster, follower, handler);
    assert.equal(nodeStatus(leader, node.ID), "ready");
    const { index } = await link.call("node.heartbeat", { status: "ready" });
    assert.ok(index > 0);
    await leader.endpoints.jobs.register(registration(paperJob("web", 3)));
    await eventually("three assigned over the follower's broker", () => handler.assigned.size === 3);
    const updates = [...handler.assigned.keys()].map(
      (ID): AllocationUpdate => ({
        ID,
        NodeID: node.ID,
        ClientStatus: "running",
        ClientDescription: "",
        TaskStates: {},
        DeploymentStatus: null,
        NetworkStatus: null,
      }),
    );
    await link.call("allocation.update", { updates });
    {
      using snapshot = leader.bench.state.snapshot();
      const states = snapshot.allocationsByNode(node.ID).map(({ ClientStatus }) => ClientStatus);
      assert.deepEqual(states, ["running", "running", "running"]);
    }
    await follower.endpoints.jobs.deregister({ namespace: "default", jobId: "web", purge: false });
    await eventually("the stops were pushed", () => {
      using snapshot = leader.bench.state.snapshot();
      const stopped = snapshot.allocationsByNode(node.ID);
      return stopped.every(
        ({ ID, DesiredStatus, AllocModifyIndex }) =>
          DesiredStatus === "stop" && handler.assigned.get(ID) === AllocModifyIndex,
      );
    });
  });

  it("are refused with the leader's reason where their token is not good", async (t) => {
    const cluster = await started(t);
    const follower = cluster.members[1]!;
    const token = await follower.endpoints.operator.issueJoinToken(TTL);
    await cluster.agent(() => [follower.url], token);
    const { log, handler } = await cluster.open(() => [follower.url], token);
    await eventually("the refusal", () =>
      log.lines.some(({ level, message }) => level === "error" && /join token was used/.test(message)),
    );
    assert.equal(handler.connected, false);
  });

  it("keep what they run while there is no leader, and lose nothing when they move to a server that is behind", async (t) => {
    const cluster = await started(t, {}, 0);
    const [leader, behind] = cluster.members as [Member, Member, Member];
    const handler = new AssignedClient();
    let url = leader.url;
    const token = await leader.endpoints.operator.issueJoinToken(TTL);
    const agent = await cluster.agent(() => [url], token, handler);
    await agent.link.call("node.register", { node: agent.node });
    handler.take(await agent.link.call("assignment.pull", { known: {} }));
    await behind.endpoints.status.catchUp(false);
    behind.replica.hold();
    await leader.endpoints.jobs.register(registration(paperJob("web", 2)));
    await eventually("two assigned", () => handler.assigned.size === 2);
    url = behind.url;
    await leader.gateway.unserve();
    await eventually("the agent has moved", () => behind.gateway.isConnected(agent.node.ID));
    const known = Object.fromEntries(handler.assigned);
    const pull = agent.link.call("assignment.pull", { known }, { timeout: 30_000 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    behind.replica.release();
    assert.deepEqual((await pull).removed, []);
    cluster.group.elect(undefined);
    await assert.rejects(agent.link.call("assignment.pull", { known }, { timeout: 30_000 }), {
      code: "unreachable",
      message: "No cluster leader",
    });
    assert.equal(handler.assigned.size, 2);
  });

  it("are down when they fall silent, and not while they are heard on their server", async (t) => {
    const cluster = await started(t, { min_heartbeat_ttl: 500, heartbeat_grace: 500 });
    const [leader, follower] = cluster.members as [Member, Member, Member];
    const alive = await connect(cluster, follower);
    const silent = await connect(cluster, follower);
    await eventually("the silent one is down", async () => {
      await alive.link.call("node.heartbeat", { status: "ready" });
      return nodeStatus(leader, silent.node.ID) === "down";
    });
    assert.equal(nodeStatus(leader, alive.node.ID), "ready");
    await silent.link.call("node.heartbeat", { status: "ready" });
    assert.equal(nodeStatus(leader, silent.node.ID), "ready");
    const stranger = await cluster.agent(
      () => [follower.url],
      await follower.endpoints.operator.issueJoinToken(TTL),
    );
    await assert.rejects(stranger.link.call("node.heartbeat", { status: "ready" }), { code: "unknown_node" });
  });

  it("are called from every server, wherever they are connected", async (t) => {
    const cluster = await started(t);
    const [first, second, third] = cluster.members as [Member, Member, Member];
    const handler = new MemoryAgentClient();
    let url = second.url;
    const token = await first.endpoints.operator.issueJoinToken(TTL);
    const { node } = await cluster.agent(() => [url], token, handler);
    const call = { allocId: node.ID, path: "/" };
    const answered = { method: "fs.list", request: call } as unknown as AgentMethods["fs.list"]["answer"];
    for (const { endpoints } of [first, second, third])
      assert.deepEqual(await endpoints.nodes.call(node.ID, "fs.list", call), answered);
    handler.answer = async () => {
      throw Object.assign(new Error("boom"), {});
    };
    await assert.rejects(first.endpoints.nodes.call(node.ID, "fs.stat", call), {
      code: "internal",
      message: "boom",
    });
    handler.answer = async (method, request) => ({ method, request });
    // It moves, and the servers that remember where it was find it again.
    url = third.url;
    await second.stop();
    await eventually("the agent has moved", () => third.gateway.isConnected(node.ID));
    for (const { endpoints } of [first, third])
      assert.deepEqual(await endpoints.nodes.call(node.ID, "fs.list", call), answered);
    const nobody = "00000000-0000-4000-8000-00000000dead";
    await assert.rejects(first.endpoints.nodes.call(nobody, "fs.list", call), { code: "unreachable" });
  });

  it("send streams through other servers, as fast as they are read there and no longer than they are wanted", async (t) => {
    const cluster = await started(t);
    const [first, second] = cluster.members as [Member, Member, Member];
    const handler = new MemoryAgentClient();
    let sent = 0;
    let isClosed = false;
    handler.frames = async function* (_method, _request, signal): AsyncGenerator<FileFrame> {
      signal.addEventListener("abort", () => {
        isClosed = true;
      });
      while (!signal.aborted) {
        sent++;
        yield { File: "stdout.0", Offset: sent * 65_536, Data: new Uint8Array(65_536).fill(sent % 256) };
      }
    };
    const token = await first.endpoints.operator.issueJoinToken(TTL);
    const { node } = await cluster.agent(() => [second.url], token, handler);
    const call = {
      allocId: node.ID,
      task: "t",
      type: "stdout",
      follow: true,
      origin: "start",
      offset: 0,
    } as const;
    const frames = first.endpoints.nodes.stream(node.ID, "fs.logs", call, new AbortController().signal);
    let read = 0;
    for await (const frame of frames) {
      read++;
      assert.equal(frame.Offset, read * 65_536);
      assert.ok(frame.Data?.every((byte) => byte === read % 256));
      if (read === 3) {
        // A reader that takes nothing: the agent soon has nowhere to send to.
        let before = -1;
        while (before !== sent) {
          before = sent;
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        assert.ok(sent < 200, `${sent} frames for a reader that took 3`);
      }
      if (read === 300) break;
    }
    await eventually("the agent's stream is closed", () => isClosed);
  });

  it("end streams with their error, and readers hear of a server that goes away", async (t) => {
    const cluster = await started(t);
    const [first, second] = cluster.members as [Member, Member, Member];
    const handler = new MemoryAgentClient();
    const token = await first.endpoints.operator.issueJoinToken(TTL);
    const { node } = await cluster.agent(() => [second.url], token, handler);
    const call = { allocId: node.ID, path: "/a", offset: 0, limit: 0 };
    const read = async (): Promise<number> => {
      let count = 0;
      const frames = first.endpoints.nodes.stream(node.ID, "fs.read", call, new AbortController().signal);
      for await (const _ of frames) count++;
      return count;
    };
    handler.frames = async function* () {
      yield { File: "/a", Offset: 1 };
      yield { File: "/a", Offset: 2 };
    };
    assert.equal(await read(), 2);
    handler.frames = async function* () {
      yield { File: "/a", Offset: 1 };
      throw new Error("disk is gone");
    };
    await assert.rejects(read(), { name: "RemoteError", message: "disk is gone" });
    handler.frames = async function* (_method, _request, signal) {
      yield { File: "/a", Offset: 1 };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    };
    const cut = assert.rejects(read(), { code: "unreachable" });
    await new Promise((resolve) => setTimeout(resolve, 100));
    cluster.network.cut(first.replica.address, second.replica.address);
    await cut;
  });

  it("move to the next of their servers when theirs stops", async (t) => {
    const cluster = await started(t);
    const [, second, third] = cluster.members as [Member, Member, Member];
    const token = await second.endpoints.operator.issueJoinToken(TTL);
    const { node } = await cluster.agent(() => [second.url, third.url], token);
    const here = [second, third].find(({ gateway }) => gateway.isConnected(node.ID))!;
    const other = here === second ? third : second;
    await here.stop();
    await eventually("the agent has moved", () => other.gateway.isConnected(node.ID));
  });
});

describe("the cluster's key for agents", () => {
  it("is the same on every server, private there, in no line and in no entry of any log", async (t) => {
    const cluster = await started(t);
    const pair = cluster.members[0]!.gateway.clusterKeyPair()!;
    const forms = [
      Buffer.from(pair.secretKey),
      ...(["hex", "base64", "base64url"] as const).map((encoding) =>
        Buffer.from(Buffer.from(pair.secretKey).toString(encoding)),
      ),
    ];
    for (const member of cluster.members) {
      assert.deepEqual(member.gateway.clusterKeyPair(), pair);
      assert.equal((await stat(member.keyFile)).mode & 0o777, 0o600);
      const file = JSON.parse(await readFile(member.keyFile, "utf8")) as { secret_key: string };
      assert.equal(file.secret_key, Buffer.from(pair.secretKey).toString("base64url"));
      const logged = JSON.stringify(member.log.lines);
      for (const form of forms.slice(1)) assert.equal(logged.includes(form.toString()), false);
    }
    assert.ok(cluster.group.log.some(({ data }) => Buffer.from(data).includes("agent-key")));
    for (const { data } of cluster.group.log)
      for (const form of forms) assert.equal(Buffer.from(data).includes(form), false);
    const warned = cluster.members
      .flatMap(({ log }) => log.lines)
      .filter(({ message }) => /without TLS/.test(message));
    assert.ok(warned.length >= 1 && warned.length <= 3, "each giver warns once");
  });

  it("reaches a server that joins later, which serves agents then", async (t) => {
    const cluster = await started(t);
    const late = await cluster.add();
    await late.bench.start();
    await eventually("the key", () => cluster.serves(late));
    const agent = await connect(cluster, late);
    assert.equal(nodeStatus(cluster.members[0]!, agent.node.ID), "ready");
  });

  it("takes the place of a server's own one, which is kept", async (t) => {
    const cluster = await started(t);
    const late = await cluster.add();
    const own = await late.gateway.createClusterKey();
    await late.bench.start();
    await eventually("the key", () => cluster.serves(late));
    const kept = `${late.keyFile}.${Buffer.from(own.publicKey.subarray(0, 4)).toString("hex")}`;
    const file = JSON.parse(await readFile(kept, "utf8")) as { secret_key: string };
    assert.equal(file.secret_key, Buffer.from(own.secretKey).toString("base64url"));
    assert.equal((await stat(kept)).mode & 0o777, 0o600);
  });

  it("is waited for while no server that has it can be reached", async (t) => {
    const cluster = await started(t);
    const late = await cluster.add();
    cluster.network.isolate(late.replica.address);
    await late.bench.start();
    assert.equal(late.gateway.clusterKeyPair(), undefined);
    await assert.rejects(late.endpoints.operator.issueJoinToken(TTL), { name: "EndpointError", status: 500 });
    await eventually("it says so", () =>
      late.log.lines.some(({ message }) => /not reached: server-1:4647/.test(message)),
    );
    cluster.network.mend();
    await eventually("the key", () => late.gateway.clusterKeyPair() !== undefined);
    await connect(cluster, late);
  });
});
