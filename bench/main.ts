/** `npm run bench -- NAME [flags]`: runs one benchmark and prints its result as one line of JSON. */
const BENCHMARKS: Readonly<Record<string, { readonly module: string; readonly about: string }>> = {
  agents: {
    module: "./agents.js",
    about:
      "agents over real MQTT connections enrol, receive and report allocations (--agents 500 --allocs 5000)",
  },
  start: {
    module: "./start.js",
    about: "process start to ready, submit to running, idle memory, Ctrl-C (--runs 5)",
  },
  raft: { module: "./raft.js", about: "commands a second through the durable log" },
  consensus: {
    module: "./consensus.js",
    about:
      "three servers: commands a second beside etcd (--writers 256 --bytes 200 --seconds 10 --clients 1 --etcd), elections (--election 50), restarts with a state (--restart 1000000 --runs 3), catching up with it (--catchup 1000000 --rate 200)",
  },
  schedule: {
    module: "./schedule.js",
    about:
      "jobs submitted to allocations committed, through the durable log (--nodes 5000 --jobs 50 --count 1000 --type service --spread rack)",
  },
  growth: {
    module: "./growth.js",
    about: "the same load on clusters of several sizes (--sizes 500,5000,20000 --draw docs/growth.svg)",
  },
  "node-loss": {
    module: "./node-loss.js",
    about:
      "a node dies: until its allocations are placed elsewhere (--nodes 5000 --jobs 100 --count 1000 --node-cpu 20000 --losses 5 --algorithm binpack)",
  },
  reconcile: {
    module: "./reconcile.js",
    about: "what has to change of a job's allocations (--nodes 5000 --allocs 10000 --runs 25)",
  },
  scheduling: {
    module: "./scheduling.js",
    about: "placements a second on the node columns (--nodes 5000 --allocs 10000)",
  },
};

const [name = "", ...args] = process.argv.slice(2);
const benchmark = BENCHMARKS[name];
if (benchmark === undefined) {
  const width = Math.max(...Object.keys(BENCHMARKS).map((key) => key.length));
  process.stderr.write(
    `${name === "" ? "" : `no benchmark "${name}"\n`}usage: npm run bench -- NAME [flags]\n\n${Object.entries(
      BENCHMARKS,
    )
      .map(([key, { about }]) => `  ${key.padEnd(width)}  ${about}`)
      .join("\n")}\n`,
  );
  process.exitCode = 1;
} else {
  const { run } = (await import(benchmark.module)) as { run: (args: string[]) => Promise<object> };
  const result = await run(args);
  process.stdout.write(`${JSON.stringify({ benchmark: name, ...result })}\n`);
}
