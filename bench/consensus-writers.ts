/** Clients of the consensus benchmarks in a process of their own: writers with one command in flight each. */

import { openNetwork } from "../test/core/rpc/network/support.js";
import { childOptions, serveParent } from "./child.js";
import { PROPOSE_METHOD, type WriterCalls, type WritersOptions } from "./consensus-calls.js";
import { openEtcd } from "./etcd-members.js";

const DEADLINE = 30_000;
const MICROS_PER_SECOND = 1e6;

const { writers, bytes, target } = childOptions<WritersOptions>();

type Write = (writer: number, value: Buffer) => Promise<unknown>;

async function connect(): Promise<Write> {
  if ("etcd" in target) {
    const { kv } = openEtcd(target.etcd);
    const keys = Array.from({ length: writers }, (_, writer) =>
      Buffer.from(`bench/${process.pid}/${writer}`),
    );
    return (writer, value) => kv.put({ key: keys[writer]!, value }, { deadline: Date.now() + DEADLINE });
  }
  const { network } = await openNetwork();
  return (_, value) => network.call(target.drover, PROPOSE_METHOD, value, { deadline: DEADLINE });
}

const put = await connect();
const value = Buffer.alloc(bytes, 7);

serveParent<WriterCalls>({
  write: async (seconds) => {
    const latencies: number[] = [];
    const cpu = process.cpuUsage();
    const begin = performance.now();
    const end = begin + seconds * 1000;
    const writer = async (number: number): Promise<void> => {
      for (let started = begin; started < end; ) {
        await put(number, value);
        const now = performance.now();
        latencies.push(now - started);
        started = now;
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, number) => writer(number)));
    const { user, system } = process.cpuUsage(cpu);
    return {
      latencies: Float64Array.from(latencies),
      seconds: (performance.now() - begin) / 1000,
      cpu: (user + system) / MICROS_PER_SECOND,
    };
  },
});
