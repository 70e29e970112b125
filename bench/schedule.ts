/**
 * A server schedules: jobs are registered with its endpoint, its threads plan them, the plans go through the durable log,
 * and the clock stops when the last allocation is committed. Nodes exist on paper, but heartbeat as real ones do.
 */
import { parseArgs } from "node:util";
import { ClusterUnderLoad } from "./cluster.js";

/** `--nodes N --jobs N --count N [--type service|batch|system|sysbatch] [--spread ATTRIBUTE] [--ports N]`. */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: "string", default: "5000" },
      jobs: { type: "string", default: "50" },
      count: { type: "string", default: "1000" },
      type: { type: "string", default: "service" },
      spread: { type: "string" },
      ports: { type: "string", default: "0" },
    },
  });
  const nodes = whole("nodes", values.nodes);
  const jobs = whole("jobs", values.jobs);
  const count = whole("count", values.count);
  const cluster = await ClusterUnderLoad.start({ nodes });
  try {
    const result = await cluster.schedule({
      jobs,
      count,
      type: values.type,
      ports: Number(values.ports),
      ...(values.spread === undefined ? {} : { spread: values.spread }),
    });
    return { nodes, jobs, count, type: values.type, spread: values.spread ?? null, ...result };
  } finally {
    await cluster.stop();
  }
}

function whole(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number above 0`);
  return value;
}
