import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { AssignedAllocation } from "@drover/plugin-sdk";
import { FakeLink, makeAllocation, shellTask, until } from "./fixtures.js";
import { endExecutors, eventTypes, startAgent, stopAgent, temporaryFolder } from "./harness.js";

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill("SIGKILL");
});

/** An agent process; `kill9` ends it as a crash would. */
function agentProcess(dataDir: string, allocations?: AssignedAllocation[]) {
  const args = [fileURLToPath(new URL("./agent-process.js", import.meta.url)), dataDir];
  if (allocations !== undefined) {
    const file = join(dataDir, "assigned.json");
    writeFileSync(file, JSON.stringify(allocations));
    args.push(file);
  }
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  return {
    output: () => output,
    async kill9() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      children.delete(child);
    },
  };
}

function pidIn(dataDir: string, alloc: AssignedAllocation): number | undefined {
  const path = join(dataDir, "alloc", alloc.ID, "server/pid");
  return existsSync(path) ? Number(readFileSync(path, "utf8")) || undefined : undefined;
}

function alive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

const SCRIPT = "echo $$ > pid; trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done";

test("kill -9 of the agent: the same process goes on, logs on, and its exit code is known afterwards", async () => {
  const dataDir = temporaryFolder();
  const alloc = makeAllocation([shellTask("server", SCRIPT, { KillSignal: "SIGTERM" })]);
  const first = agentProcess(dataDir, [alloc]);
  await until("running", () => first.output().includes('"Tasks are running"'));
  const pid = pidIn(dataDir, alloc)!;
  await first.kill9();
  assert.ok(alive(pid), "the task ended with its agent");

  const { link, reported } = await startAgent({ dataDir });
  link.assigned.set(alloc.ID, alloc);
  await reported(alloc.ID, "running");
  assert.ok(alive(pid));
  assert.equal(pidIn(dataDir, alloc), pid);
  await link.push(alloc);
  await link.stop(alloc.ID);
  const update = await reported(alloc.ID, "complete");
  const terminated = update.TaskStates.server!.Events.find((event) => event.Type === "Terminated")!;
  assert.equal(terminated.ExitCode, 7);
  assert.ok(!alive(pid));
  assert.equal(
    readFileSync(join(dataDir, "alloc", alloc.ID, "alloc/logs/server.stdout.0"), "utf8"),
    "up\nbye\n",
  );
});

test("a task that ended while the agent was away is reported with its exit code", async () => {
  const dataDir = temporaryFolder();
  const alloc = makeAllocation([shellTask("server", SCRIPT)], { type: "batch" });
  const first = agentProcess(dataDir, [alloc]);
  await until("running", () => first.output().includes('"Tasks are running"'));
  await first.kill9();
  const pid = pidIn(dataDir, alloc)!;
  process.kill(pid, "SIGTERM");
  await until("the task is over", () => !alive(pid));

  const link = new FakeLink();
  link.assigned.set(alloc.ID, alloc);
  const { reported } = await startAgent({ dataDir, link });
  const update = await reported(alloc.ID, "failed");
  assert.equal(update.TaskStates.server!.Events.find((event) => event.Type === "Terminated")!.ExitCode, 7);
});

test("without any server the agent goes on with what it had, and starts again what a reboot ended", async () => {
  const dataDir = temporaryFolder();
  const alloc = makeAllocation([shellTask("server", SCRIPT)]);
  const first = agentProcess(dataDir, [alloc]);
  await until("running", () => first.output().includes('"Tasks are running"'));
  await first.kill9();
  const pid = pidIn(dataDir, alloc)!;
  // A reboot takes executor and task.
  await endExecutors(dataDir);
  await until("everything gone", () => !alive(pid));

  const second = agentProcess(dataDir);
  await until("started again", () => {
    const now = pidIn(dataDir, alloc);
    return now !== undefined && now !== pid && alive(now);
  });
  await second.kill9();
});

test("the agent can be killed at any moment of a start without a second copy of the task", async () => {
  const dataDir = temporaryFolder();
  const script = "echo $$ >> pids; while :; do sleep 0.02; done";
  const alloc = makeAllocation([shellTask("server", script)]);
  const path = join(dataDir, "alloc", alloc.ID, "server/pids");
  for (let delay = 0; delay <= 60; delay += 12) {
    const child = agentProcess(dataDir, [alloc]);
    await until("agent up", () => child.output().includes("started"));
    // The moment of the kill is the point of the test, whatever it hits.
    await new Promise((resolve) => setTimeout(resolve, delay));
    await child.kill9();
  }
  const { reported, link } = await startAgent({ dataDir });
  link.assigned.set(alloc.ID, alloc);
  await reported(alloc.ID, "running");
  await until("a process", () => existsSync(path));
  const pids = readFileSync(path, "utf8").trim().split("\n").map(Number);
  assert.equal(pids.filter(alive).length, 1, `pids ${pids.join()}`);
});

test("an agent that is stopped leaves its tasks; in development mode it takes them along", async () => {
  const dataDir = temporaryFolder();
  const kept = makeAllocation([shellTask("server", SCRIPT)]);
  const production = await startAgent({ dataDir });
  await production.link.push(kept);
  await production.reported(kept.ID, "running");
  await until("pid", () => pidIn(dataDir, kept));
  await stopAgent(production);
  assert.ok(alive(pidIn(dataDir, kept)!));

  const devDir = temporaryFolder();
  const development = await startAgent({ dataDir: devDir, devMode: true });
  const stubborn = "echo $$ > pid; trap '' INT TERM; while :; do sleep 0.02; done";
  const ended = makeAllocation([shellTask("server", stubborn, { KillTimeout: 60e9 })]);
  await development.link.push(ended);
  await development.reported(ended.ID, "running");
  await until("pid", () => pidIn(devDir, ended));
  await stopAgent(development);
  assert.ok(!alive(pidIn(devDir, ended)!));
});

test("tasks keep running while the servers are away, and every report arrives afterwards", async () => {
  const { link, reported } = await startAgent();
  const steady = makeAllocation([shellTask("server", "exec sleep 600")]);
  const short = makeAllocation([shellTask("work", "while [ ! -e go ]; do sleep 0.02; done")], {
    type: "batch",
  });
  await link.push(steady, short);
  await reported(short.ID, "running");
  link.setConnected(false);
  assert.ok(link.last(short.ID)?.ClientStatus === "running");
  link.failNext = { method: "allocation.update", error: new Error("not the leader") };
  link.setConnected(true);
  await link.stop(short.ID);
  const update = await reported(short.ID, "complete");
  assert.ok(eventTypes(update, "work").includes("Killed"));
  assert.equal(link.last(steady.ID)?.ClientStatus, "running");
});
