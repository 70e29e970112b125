import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, type Running } from "./process.js";

/** Live processes of a process's session or descended from it, read from /proc. */
function family(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state !== "Z") parents.set(Number(name), Number(parent));
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
  const found = new Set([root]);
  for (let grew = true; grew; ) {
    grew = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grew = true;
      }
    }
  }
  found.delete(root);
  return [...found];
}

function alive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

test("drover dev runs a job file, shows it, and Ctrl-C leaves nothing behind", {
  timeout: 60_000,
}, async (t) => {
  const dev: Running = drover(["dev", "examples/hello.hcl"]);
  t.after(() => dev.kill("SIGINT"));
  await eventually("the job running and its first log lines", () => {
    if (!dev.alive) throw new Error(dev.output);
    return /pending/.test(dev.output) && /running/.test(dev.output) && /hello/i.test(dev.output);
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${dev.output}`);
  });
  const address = await eventually(
    "the API address",
    () => /http:\/\/127\.0\.0\.1:\d+/.exec(dev.output)?.[0],
  );
  const jobs = (await (await fetch(`${address}/v1/jobs`)).json()) as { ID: string; Status: string }[];
  assert.deepEqual(
    jobs.map((job) => [job.ID, job.Status]),
    [["hello", "running"]],
  );
  const toTry = await eventually(
    "commands to try",
    () => /^Try next.*\n((?: {2}.+\n){3})/m.exec(dev.output)?.[1],
  );
  assert.match(toTry, /job status hello\n.*alloc logs.*\n.*job stop hello/);
  const folder = dirname(/log of the agent: (\S+?)\)/.exec(dev.output)?.[1] ?? "");
  assert.ok(existsSync(folder), dev.output);
  const children = family(dev.pid);
  assert.ok(children.length > 0, "no task process was seen");
  const { code } = await dev.kill("SIGINT");
  assert.equal(code, 0, dev.output);
  await eventually("no process left", () => children.every((pid) => !alive(pid)), 5_000);
  assert.equal(existsSync(folder), false, `${folder} was left`);
});
