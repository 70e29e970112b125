import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger, StateMachine } from "@drover/plugin-sdk";
import { begin, eventually, MemoryNetwork, quietMetrics, RecordingMachine } from "@drover/plugin-sdk/testing";
import { RaftConfig } from "../../../plugins/consensus-raft/config.js";
import { RaftConsensus, type RaftDependencies } from "../../../plugins/consensus-raft/consensus.js";

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "drover-raft-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Keeps the messages, for tests that look at them. */
export class ListLogger implements Logger {
  readonly lines: string[] = [];
  /** With their fields, as text. */
  readonly full: string[] = [];
  readonly trace = (fields: object, message: string) => {
    this.lines.push(message);
    this.full.push(`${message} ${Object.values(fields).map(String).join(" ")}`);
  };
  readonly debug = this.trace;
  readonly info = this.trace;
  readonly warn = this.trace;
  readonly error = this.trace;
  child(): Logger {
    return this;
  }

  /** Whether a line with its fields matches. */
  has(pattern: RegExp): boolean {
    return this.full.some((line) => pattern.test(line));
  }
}

export const ADDRESS = "127.0.0.1:4647";

export interface TestServer {
  readonly consensus: RaftConsensus;
  readonly log: ListLogger;
  /** What was reported as fatal. */
  readonly failures: Error[];
}

/** A server over `dataDir`, prepared as its plugin would. No free space is asked for unless the test wants it. */
export async function server(
  dataDir: string,
  config: Partial<RaftConfig> = {},
  more: Partial<RaftDependencies> = {},
): Promise<TestServer> {
  const log = new ListLogger();
  const failures: Error[] = [];
  const consensus = new RaftConsensus({
    agent: { dataDir, devMode: false, region: "global", advertise: { http: "", rpc: ADDRESS, serf: "" } },
    network: new MemoryNetwork().join(ADDRESS),
    log,
    metrics: quietMetrics,
    config: RaftConfig.parse({ min_free_bytes: 0, ...config }),
    ...more,
  });
  await consensus.prepare((error) => failures.push(error));
  return { consensus, log, failures };
}

/** Starts a server that is a cluster of its own, and waits until it leads. */
export async function startAlone(consensus: RaftConsensus, machine: StateMachine): Promise<void> {
  await consensus.start(machine);
  await begin(consensus, [{ id: consensus.id, address: ADDRESS }]);
  await eventually("leadership", () => consensus.isLeader());
  await consensus.barrier();
}

/** Counts the snapshots it took. */
export class ListMachine extends RecordingMachine {
  snapshots = 0;

  override snapshot(folder: string): Promise<number> {
    this.snapshots++;
    return super.snapshot(folder);
  }
}

export async function until(condition: () => boolean, what: string, milliseconds = 10_000): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${milliseconds} ms in vain for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Ticks of 40 ms: an election takes half a second, and a busy machine still has its turn between two. */
export const QUICK = { tick_interval: 40, snapshot_threshold: 50, snapshot_interval: 0, trailing_logs: 20 };

export interface Member extends TestServer {
  readonly address: string;
  readonly machine: ListMachine;
}

/** Servers in one process, on folders that outlive them. */
export class TestCluster {
  readonly network = new MemoryNetwork();
  readonly running = new Map<number, Member>();
  readonly #folders = new Map<number, Awaited<ReturnType<typeof temporaryFolder>>>();

  address(number: number): string {
    return `10.0.0.${number}:4647`;
  }

  async folder(number: number): Promise<string> {
    const known = this.#folders.get(number) ?? (await temporaryFolder());
    this.#folders.set(number, known);
    return known.path;
  }

  async start(
    number: number,
    options: {
      machine?: ListMachine;
      address?: string;
      region?: string;
      config?: Partial<RaftConfig>;
      more?: Partial<RaftDependencies>;
    } = {},
  ): Promise<Member> {
    const { machine = new ListMachine(), address = this.address(number), region = "global" } = options;
    const dataDir = await this.folder(number);
    const agent = { dataDir, devMode: false, region, advertise: { http: "", rpc: address, serf: "" } };
    const made = await server(
      dataDir,
      { ...QUICK, ...options.config },
      { agent, network: this.network.join(address), ...options.more },
    );
    const member = { ...made, address, machine };
    this.running.set(number, member);
    await made.consensus.start(machine);
    return member;
  }

  /** Starts these servers and begins a cluster of them. */
  async begin(...numbers: number[]): Promise<Member[]> {
    const members = [];
    for (const number of numbers) members.push(await this.start(number));
    await begin(
      members[0]!.consensus,
      members.map(({ consensus, address }) => ({ id: consensus.id, address })),
    );
    await this.leader();
    return members;
  }

  leader(): Promise<Member> {
    return eventually("one leader that the servers name", () => {
      const members = [...this.running.values()];
      const leading = members.filter(({ consensus }) => consensus.isLeader());
      const [first] = leading;
      return leading.length === 1 &&
        members.every(({ consensus }) => consensus.leader()?.id === first!.consensus.id)
        ? first
        : undefined;
    });
  }

  followers(leader: Member): Member[] {
    return [...this.running.values()].filter((member) => member !== leader);
  }

  async stop(member: Member): Promise<void> {
    for (const [number, running] of this.running) if (running === member) this.running.delete(number);
    await member.consensus.stop();
    this.network.leave(member.address);
  }

  async applied(member: Member, commands: readonly string[]): Promise<void> {
    await eventually(`${member.address} applies ${commands.length} commands`, () =>
      commands.every((command) => member.machine.commands.includes(command)),
    );
  }

  async close(): Promise<void> {
    for (const member of [...this.running.values()]) await this.stop(member);
    for (const { remove } of this.#folders.values()) await remove();
  }
}

/** Proposes `prefix` with the numbers from 0 to `count`; gives the commands. */
export async function proposeMany({ consensus }: Member, prefix: string, count: number): Promise<string[]> {
  const commands = Array.from({ length: count }, (_, number) => `${prefix}${number}`);
  for (let from = 0; from < count; from += 20) {
    await Promise.all(commands.slice(from, from + 20).map((command) => consensus.propose(encode(command))));
  }
  return commands;
}
