/** A node with many allocations dies in a large cluster: how long until all of them are placed elsewhere and committed. */
import { parseArgs } from "node:util";
import { ClusterUnderLoad } from "./cluster.js";

/** `--nodes N --jobs N --count N --node-cpu MHZ [--algorithm binpack|spread]`; tasks take 100 MHz each. */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: "string", default: "5000" },
      jobs: { type: "string", default: "100" },
      count: { type: "string", default: "1000" },
      "node-cpu": { type: "string", default: "20000" },
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
    return { nodes, jobs, count, algorithm, allocations: jobs * count, ...(await cluster.loseFullestNode()) };
  } finally {
    await cluster.stop();
  }
}
