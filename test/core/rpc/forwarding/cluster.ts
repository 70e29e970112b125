/** Three servers of one process, with their state, their schedulers, a network that a test cuts, and brokers for real agents. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type Node, type ServerConfiguration, type ServerEndpoints } from "@drover/plugin-sdk";
import { eventually, MemoryAgentClient, MemoryNetwork, quietMetrics } from "@drover/plugin-sdk/testing";
import { MqttAgentLink } from "../../../../plugins/mqtt/agent-link.js";
import { ClusterKeys } from "../../../../plugins/mqtt/cluster-keys.js";
import { EmbeddedBroker } from "../../../../plugins/mqtt/embedded-broker.js";
import { Gateway } from "../../../../plugins/mqtt/gateway.js";
import { Refusals } from "../../../../plugins/mqtt/refusals.js";
import { brokerConfig, recordingLog, topics } from "../../../plugins/mqtt/fixtures.js";
import { BenchServer, paperNode } from "../../server/bench-server.js";
import { type Replica, ReplicaGroup } from "./replica-group.js";

export interface Member {
  readonly bench: BenchServer<Replica>;
  readonly replica: Replica;
  readonly gateway: Gateway;
  readonly keyFile: string;
  readonly log: ReturnType<typeof recordingLog>;
  readonly endpoints: ServerEndpoints;
  readonly url: string;
  stop(): Promise<void>;
}

export interface ConnectedAgent {
  readonly link: MqttAgentLink;
  readonly handler: MemoryAgentClient;
  readonly node: Node;
  readonly log: ReturnType<typeof recordingLog>;
}

export class TestCluster {
  readonly network = new MemoryNetwork();
  readonly group = new ReplicaGroup();
  readonly members: Member[] = [];
  readonly #links: MqttAgentLink[] = [];
  #folder = "";

  /** Three servers whose first one leads; the server at `schedulers` has a scheduling thread. */
  static async start(settings: Partial<ServerConfiguration> = {}, schedulers = -1): Promise<TestCluster> {
    const cluster = new TestCluster();
    cluster.#folder = await mkdtemp(join(tmpdir(), "drover-forwarding-"));
    for (let at = 0; at < 3; at++)
      await cluster.add({ ...settings, num_schedulers: at === schedulers ? 1 : 0 });
    cluster.group.elect(cluster.members[0]!.replica);
    await Promise.all(cluster.members.map(({ bench }) => bench.start()));
    await eventually("agents are served everywhere", () =>
      cluster.members.every((each) => cluster.serves(each)),
    );
    return cluster;
  }

  /** A server that is not started yet. */
  async add(settings: Partial<ServerConfiguration> = { num_schedulers: 0 }): Promise<Member> {
    const address = `server-${this.members.length + 1}:4647`;
    const folder = join(this.#folder, address);
    const keyFile = join(folder, "cluster-key");
    const replica = this.group.join(address);
    const log = recordingLog();
    const refusals = new Refusals(log, quietMetrics, "test");
    const host = "127.0.0.1";
    const broker = new EmbeddedBroker({
      host,
      port: 0,
      advertiseHost: host,
      config: brokerConfig(),
      topics,
      log,
      refusals,
    });
    await broker.listen();
    const clusterKeys = await ClusterKeys.open(keyFile, log);
    const gateway = new Gateway({
      carrier: broker,
      topics,
      clusterKeys,
      log,
      metrics: quietMetrics,
      refusals,
    });
    const network = this.network.join(address);
    const parts = { folder, consensus: replica, log, settings };
    const bench = new BenchServer<Replica>([], [], parts, { network, agents: gateway });
    let isStopped = false;
    const member: Member = {
      bench,
      replica,
      gateway,
      keyFile,
      log,
      endpoints: bench.server.endpoints,
      url: broker.urls()[0]!,
      stop: async () => {
        if (isStopped) return;
        isStopped = true;
        this.network.leave(address);
        await bench.stop();
        await gateway.close();
      },
    };
    this.members.push(member);
    return member;
  }

  /** Whether it has the key that the first one has. */
  serves({ gateway }: Member): boolean {
    const pair = gateway.clusterKeyPair();
    return pair !== undefined && isDeepStrictEqual(pair, this.members[0]!.gateway.clusterKeyPair());
  }

  lead(at: number): void {
    this.group.elect(this.members[at]!.replica);
  }

  /** An agent whose link is up. */
  async agent(
    urls: () => readonly string[],
    token: string,
    handler = new MemoryAgentClient(),
  ): Promise<ConnectedAgent> {
    const agent = await this.open(urls, token, handler);
    const isServed = () => this.members.some(({ gateway }) => gateway.isConnected(agent.node.ID));
    await eventually("the link", () => handler.connected && isServed());
    return agent;
  }

  /** An agent that connects to the brokers at `urls`. */
  async open(
    urls: () => readonly string[],
    token: string,
    handler = new MemoryAgentClient(),
  ): Promise<ConnectedAgent> {
    const node = paperNode({ ID: randomUUID() });
    const log = recordingLog();
    const link = new MqttAgentLink({
      config: brokerConfig(),
      urls,
      joinToken: { available: true, read: async () => token },
      software: "test/1",
      log,
      metrics: quietMetrics,
    });
    this.#links.push(link);
    await link.open({ nodeId: node.ID, stateDir: join(this.#folder, node.ID), region: "global", handler });
    return { link, handler, node, log };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#links.map((link) => link.close()));
    for (const member of this.members) await member.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
