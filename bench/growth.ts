/** How scheduling grows with the cluster: the same load on clusters of several sizes, drawn into docs/growth.svg. */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ClusterUnderLoad } from "./cluster.js";
import { type Line, logPlot } from "./log-plot.js";

/** `--sizes 500,5000,20000 --jobs N --count N [--draw FILE]`; each size without and with a spread over 50 racks. */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      sizes: { type: "string", default: "500,1000,2000,5000,10000,20000" },
      jobs: { type: "string", default: "20" },
      count: { type: "string", default: "100" },
      draw: { type: "string" },
    },
  });
  const sizes = values.sizes.split(",").map(Number);
  const jobs = Number(values.jobs);
  const count = Number(values.count);
  const results: { nodes: number; spread: boolean; placements_per_s: number; evaluation_p50_ms: number }[] =
    [];
  for (const nodes of sizes) {
    for (const spread of [false, true]) {
      const cluster = await ClusterUnderLoad.start({ nodes });
      try {
        const measured = await cluster.schedule({
          jobs,
          count,
          type: "service",
          ...(spread ? { spread: "rack" } : {}),
        });
        const { placements_per_s, evaluation_p50_ms } = measured;
        results.push({ nodes, spread, placements_per_s, evaluation_p50_ms });
      } finally {
        await cluster.stop();
      }
    }
  }
  if (values.draw !== undefined) {
    const line = (spread: boolean, label: string): Line => ({
      label,
      points: results
        .filter((one) => one.spread === spread)
        .map(({ nodes, evaluation_p50_ms }) => [nodes, evaluation_p50_ms]),
    });
    const svg = logPlot({
      title: `Time of an evaluation that places ${count} allocations (median, every feasible node scored)`,
      x: "nodes",
      y: "milliseconds",
      lines: [line(false, "two constraints"), line(true, "and a spread over 50 racks")],
    });
    await writeFile(values.draw, svg);
  }
  return { jobs, count, results };
}
