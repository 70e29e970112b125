/** Commands a second of three servers on loopback, written by clients in processes of their own; the same to etcd. */
import { Child } from "./child.js";
import type { WriterCalls, WritersOptions, Written } from "./consensus-calls.js";
import { ConsensusServers } from "./consensus-servers.js";
import { startEtcd } from "./etcd-members.js";
import { quantile } from "./quantile.js";

/** Seconds of writing before it counts. */
const WARM_UP = 3;

export interface Writing {
  readonly writers: number;
  /** Of a command, or of a value that is put. */
  readonly bytes: number;
  readonly seconds: number;
  /** Processes that the writers are divided among. */
  readonly clients: number;
  readonly etcd: boolean;
}

interface Result {
  readonly ops_per_s: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  /** Of one core, of all client processes together. */
  readonly client_cpu: number;
}

export async function measureWrites(writing: Writing): Promise<object> {
  const { etcd, ...load } = writing;
  const drover = await ofDrover(writing);
  if (!etcd) return { ...load, ...drover };
  const other = await ofEtcd(writing);
  const ratio = Math.round((drover.ops_per_s / other.ops_per_s) * 100) / 100;
  return { ...load, drover, etcd: other, ratio };
}

async function ofDrover(writing: Writing): Promise<Result & { readonly leader_loop_delay_max_ms: number }> {
  const servers = await ConsensusServers.create(3, "counter");
  try {
    const leader = await servers.begin();
    const result = await written(writing, { drover: leader.address }, () =>
      leader.process.ask("watchLoop", null),
    );
    const { max } = await leader.process.ask("loopDelay", null);
    const { leads } = await leader.process.ask("status", null);
    if (!leads) throw new Error("the leader changed while it was measured");
    return { ...result, leader_loop_delay_max_ms: max };
  } finally {
    await servers.destroy();
  }
}

async function ofEtcd(writing: Writing): Promise<Result> {
  const { leader, destroy } = await startEtcd();
  try {
    return await written(writing, { etcd: leader }, async () => undefined);
  } finally {
    await destroy();
  }
}

async function written(
  { writers, bytes, seconds, clients }: Writing,
  target: WritersOptions["target"],
  warm: () => Promise<void>,
): Promise<Result> {
  const processes = Array.from({ length: clients }, (_, number) => {
    const share = Math.floor(writers / clients) + (number < writers % clients ? 1 : 0);
    const options: WritersOptions = { writers: share, bytes, target };
    return new Child<WriterCalls>("consensus-writers.js", options, `client ${number}`);
  });
  const all = (work: (process: Child<WriterCalls>) => Promise<Written>): Promise<Written[]> =>
    Promise.all(processes.map(work));
  try {
    await all((process) => process.ask("write", WARM_UP));
    await warm();
    const results = await all((process) => process.ask("write", seconds));
    const latencies = results.flatMap((result) => [...result.latencies]);
    const sum = (value: (result: Written) => number): number =>
      results.reduce((total, result) => total + value(result), 0);
    return {
      ops_per_s: Math.round(sum((result) => result.latencies.length / result.seconds)),
      p50_ms: quantile(latencies, 0.5),
      p99_ms: quantile(latencies, 0.99),
      client_cpu: Math.round(sum((result) => result.cpu / result.seconds) * 100) / 100,
    };
  } finally {
    await Promise.all(processes.map((process) => process.kill("SIGTERM")));
  }
}
