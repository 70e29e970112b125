/** A node with many allocations dies in a large cluster: how long until all of them are placed elsewhere and committed. */
import { parseArgs } from "node:util";
import { ClusterUnderLoad, type NodeLoss } from "./cluster.js";

/**
 * `--nodes N --jobs N --count N --node-cpu MHZ --losses N [--algorithm binpack|spread]`; tasks take 100 MHz each. One node
 * after the other is lost; `replaced_ms` is the median.
 */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: "string", default: "5000" },
      jobs: { type: "string", default: "100" },
      count: { type: "string", default: "1000" },
      "node-cpu": { type: "string", default: "20000" },
      losses: { type: "string", default: "5" },
      algorithm: { type: "string", default: "binpack" },
    },
  });
  const [nodes, jobs, count] = [Number(values.nodes), Number(values.jobs), Number(values.count)];
  const { algorithm } = values;
  const cluster = await ClusterUnderLoad.start({
    nodes,
    nodeCpu: Number(values["node-cpu"]),
    algorithm,
    heartbeatsPerSecond: nodes,
  });
  try {
    await cluster.schedule({ jobs, count, type: "service" });
    await cluster.reportRunning();
    const losses: NodeLoss[] = [];
    for (let i = 0; i < Number(values.losses); i++) losses.push(await cluster.loseFullestNode());
    const times = losses.map(({ replaced_ms }) => replaced_ms).sort((a, b) => a - b);
    return {
      nodes,
      jobs,
      count,
      algorithm,
      allocations: jobs * count,
      replaced_ms: times[Math.floor(times.length / 2)],
      loop_delay_max_ms: Math.max(...losses.map((loss) => loss.loop_delay_max_ms)),
      losses,
    };
  } finally {
    await cluster.stop();
  }
}
