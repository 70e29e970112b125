/** Times that a person feels: process start to ready, submit to running, Ctrl-C to gone; and the memory of an idle agent. */

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts } from "../test/integration/process.js";

const JOB = {
  ID: "bench",
  Name: "bench",
  Type: "service",
  Datacenters: ["dc1"],
  TaskGroups: [
    {
      Name: "g",
      Count: 1,
      Tasks: [
        {
          Name: "t",
          Driver: "raw_exec",
          Config: { command: "/bin/sleep", args: ["3600"] },
          Resources: { CPU: 50, MemoryMB: 32 },
        },
      ],
    },
  ],
};

/** Resident bytes of a process. */
function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
}

async function once(idle: number): Promise<Record<string, number>> {
  const [http = 0, rpc = 0] = await freePorts(2);
  const begin = performance.now();
  const agent = drover(["agent", "-dev", `-http-port=${http}`, `-rpc-port=${rpc}`, "-log-level=WARN"]);
  const api = `http://127.0.0.1:${http}/v1`;
  try {
    await eventually("a ready node", async () => {
      const nodes = (await (await fetch(`${api}/nodes`)).json()) as { Status: string }[];
      return nodes.some((node) => node.Status === "ready");
    });
    const ready = performance.now() - begin;
    await delay(idle);
    const memory = rss(agent.pid);
    const submit = performance.now();
    const answer = await fetch(`${api}/jobs`, { method: "POST", body: JSON.stringify({ Job: JOB }) });
    if (!answer.ok) throw new Error(`registration: ${answer.status} ${await answer.text()}`);
    await eventually("a running allocation", async () => {
      const list = (await (await fetch(`${api}/job/bench/allocations`)).json()) as { ClientStatus: string }[];
      return list.some((allocation) => allocation.ClientStatus === "running");
    });
    const running = performance.now() - submit;
    const interrupt = performance.now();
    const { code } = await agent.kill("SIGINT");
    const gone = performance.now() - interrupt;
    return {
      ready_ms: Math.round(ready),
      submit_to_running_ms: Math.round(running),
      idle_rss_mb: Math.round(memory / 1e6),
      interrupt_ms: Math.round(gone),
      exit_code: code ?? -1,
    };
  } finally {
    if (agent.alive) await agent.kill("SIGINT");
  }
}

/** `--runs N` (5), `--idle MS` (5000): how long the agent rests before its memory is read. */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: { runs: { type: "string", default: "5" }, idle: { type: "string", default: "5000" } },
  });
  const runs: Record<string, number>[] = [];
  for (let i = 0; i < Number(values.runs); i++) runs.push(await once(Number(values.idle)));
  const median = (key: string): number => {
    const sorted = runs.map((each) => each[key]!).sort((a, b) => a - b);
    return sorted[sorted.length >> 1]!;
  };
  return {
    runs: runs.length,
    median: Object.fromEntries(Object.keys(runs[0] ?? {}).map((key) => [key, median(key)])),
    worst: Object.fromEntries(
      Object.keys(runs[0] ?? {}).map((key) => [key, Math.max(...runs.map((each) => each[key]!))]),
    ),
  };
}
