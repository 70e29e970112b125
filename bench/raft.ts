/** Commands a second through the durable Raft log of one server, with 1, 64 and 512 in flight. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogEntry, Logger, StateMachine } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork, quietMetrics } from "@drover/plugin-sdk/testing";
import { RaftConfig } from "../plugins/consensus-raft/config.js";
import { RaftConsensus } from "../plugins/consensus-raft/consensus.js";

const COMMAND_BYTES = 256;
const SECONDS = 3;

/** Counts only, so that the log alone is measured. */
class CountingMachine implements StateMachine {
  #applied = 0;
  lastApplied(): number {
    return this.#applied;
  }
  apply(entries: readonly LogEntry[]): readonly unknown[] {
    this.#applied = entries.at(-1)!.index;
    return entries.map(({ index }) => index);
  }
  verify(): Promise<number> {
    return Promise.resolve(this.#applied);
  }
  snapshot(): Promise<number> {
    return Promise.resolve(this.#applied);
  }
  restore(): Promise<void> {
    return Promise.reject(new Error("a benchmark restores nothing"));
  }
}

const ignore = () => undefined;
const log: Logger = {
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
  child: () => log,
};

interface Result {
  inflight: number;
  commandsPerSecond: number;
  latencyMilliseconds: { p50: number; p99: number };
}

async function measure(consensus: RaftConsensus, inflight: number, seconds: number): Promise<Result> {
  const latencies: number[] = [];
  const started = performance.now();
  const deadline = started + seconds * 1000;
  const client = async () => {
    while (performance.now() < deadline) {
      const before = performance.now();
      await consensus.propose(new Uint8Array(COMMAND_BYTES));
      latencies.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: inflight }, client));
  const elapsed = (performance.now() - started) / 1000;
  latencies.sort((a, b) => a - b);
  const quantile = (part: number) => Number((latencies[Math.floor(latencies.length * part)] ?? 0).toFixed(3));
  return {
    inflight,
    commandsPerSecond: Math.round(latencies.length / elapsed),
    latencyMilliseconds: { p50: quantile(0.5), p99: quantile(0.99) },
  };
}

/** `args`: seconds for each measurement, and the folder below which the log is put. */
export async function run(args: string[]): Promise<object> {
  const seconds = Number(args[0] ?? SECONDS);
  if (!(seconds > 0)) throw new Error(`"${args[0]}" is not a number of seconds`);
  const dataDir = await mkdtemp(join(args[1] ?? tmpdir(), "drover-bench-raft-"));
  const advertise = { http: "", rpc: "127.0.0.1:4647", serf: "" };
  const consensus = new RaftConsensus({
    agent: { dataDir, devMode: false, region: "global", advertise },
    network: new MemoryNetwork().join(advertise.rpc),
    log,
    metrics: quietMetrics,
    config: RaftConfig.parse({}),
  });
  try {
    await consensus.prepare((error) => {
      throw error;
    });
    await consensus.start(new CountingMachine());
    await consensus.membership.bootstrap([{ id: consensus.id, address: advertise.rpc }]);
    await eventually("leadership", () => consensus.isLeader());
    const results: Result[] = [];
    for (const inflight of [1, 64, 512]) results.push(await measure(consensus, inflight, seconds));
    return { commandBytes: COMMAND_BYTES, seconds, results };
  } finally {
    await consensus.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}
