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
  readonly trace = (_fields: object, message: string) => void this.lines.push(message);
  readonly debug = this.trace;
  readonly info = this.trace;
  readonly warn = this.trace;
  readonly error = this.trace;
  child(): Logger {
    return this;
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
