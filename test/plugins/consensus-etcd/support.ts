import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogEntry, ServerNetwork, StateMachine } from "@drover/plugin-sdk";
import { eventually, type MemoryNetwork, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { EtcdConfig } from "../../../plugins/consensus-etcd/config.js";
import { EtcdConsensus } from "../../../plugins/consensus-etcd/consensus.js";
import type { EtcdCluster } from "./etcd-cluster.js";

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (data: Uint8Array): string => new TextDecoder().decode(data);

export async function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "drover-etcd-server-"));
}

export type Settings = Partial<Record<keyof EtcdConfig, unknown>>;

/** A server whose plugin has started; `consensus.start` is the caller's. */
export async function server(
  cluster: Pick<EtcdCluster, "endpoints">,
  dataDir: string,
  prefix: string,
  settings: Settings = {},
  place: { readonly network?: ServerNetwork; readonly address?: string; readonly region?: string } = {},
): Promise<{ readonly consensus: EtcdConsensus; readonly failures: Error[] }> {
  const failures: Error[] = [];
  const consensus = new EtcdConsensus({
    agent: {
      dataDir,
      region: place.region ?? "global",
      advertise: { http: "", rpc: place.address ?? "127.0.0.1:4647", serf: "" },
    },
    log: quietLogger,
    metrics: quietMetrics,
    config: EtcdConfig.parse({ endpoints: cluster.endpoints, prefix, ...settings }),
    network: place.network,
  });
  await consensus.prepare((error) => failures.push(error));
  return { consensus, failures };
}

/** A machine with snapshots: every command it applied, in order. */
export class ListMachine implements StateMachine {
  commands: string[] = [];
  terms: number[] = [];
  restores = 0;
  #applied = 0;

  lastApplied(): number {
    return this.#applied;
  }

  apply(entries: readonly LogEntry[]): readonly unknown[] {
    return entries.map(({ index, term, data }) => {
      if (index !== this.#applied + 1) throw new Error(`entry ${index} came after ${this.#applied}`);
      this.#applied = index;
      this.terms.push(term);
      if (data.length > 0) this.commands.push(decode(data));
      return index;
    });
  }

  async snapshot(folder: string): Promise<number> {
    const index = this.#applied;
    const text = JSON.stringify({ index, commands: this.commands });
    await mkdir(join(folder, "inner"), { recursive: true });
    await writeFile(join(folder, "inner", "state.json"), text);
    return index;
  }

  async restore(folder: string, index?: number): Promise<void> {
    const state = await read(folder);
    this.#applied = index ?? state.index;
    this.commands = state.commands;
    this.restores++;
  }

  async verify(folder: string): Promise<number> {
    return (await read(folder)).index;
  }
}

async function read(folder: string): Promise<{ index: number; commands: string[] }> {
  const text = await readFile(join(folder, "inner", "state.json"), "utf8");
  return JSON.parse(text) as { index: number; commands: string[] };
}

export interface TestServer {
  readonly consensus: EtcdConsensus;
  readonly machine: ListMachine;
  readonly failures: Error[];
  readonly address: string;
  readonly dataDir: string;
}

/** Servers of one cluster below a prefix of its own, in this process. */
export class TestServers {
  readonly prefix = `/test-${randomUUID()}`;
  readonly #all: TestServer[] = [];
  #port = 1;

  constructor(
    private readonly etcd: EtcdCluster,
    private readonly network: MemoryNetwork,
    private readonly settings: Settings = {},
  ) {}

  async start(dataDir?: string, machine = new ListMachine(), settings: Settings = {}): Promise<TestServer> {
    const address = `10.0.0.${this.#port++}:4647`;
    const folder = dataDir ?? (await temporaryFolder());
    const { consensus, failures } = await server(
      this.etcd,
      folder,
      this.prefix,
      { ...this.settings, ...settings },
      { network: this.network.join(address), address },
    );
    const one = { consensus, machine, failures, address, dataDir: folder };
    this.#all.push(one);
    await consensus.start(machine);
    return one;
  }

  async stop(one: TestServer): Promise<void> {
    await one.consensus.stop();
    this.network.leave(one.address);
  }

  leader(): Promise<TestServer> {
    return eventually("a leader", () => this.#all.find(({ consensus }) => consensus.isLeader()));
  }

  async destroy(): Promise<void> {
    await Promise.all(this.#all.map(({ consensus }) => consensus.stop()));
    for (const { dataDir } of this.#all) await rm(dataDir, { recursive: true, force: true });
  }
}
