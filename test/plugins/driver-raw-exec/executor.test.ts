import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { DriverTask } from "@drover/plugin-sdk";
import { makeTaskConfig, quietLogger } from "@drover/plugin-sdk/testing";
import { findCommand } from "../../../plugins/driver-raw-exec/command.js";
import { RawExecDriver } from "../../../plugins/driver-raw-exec/driver.js";
import { isAlive, killSession, readStat } from "../../../plugins/driver-raw-exec/executor/proc.js";
import { denylistOf, taskEnvironment } from "../../../plugins/driver-raw-exec/host-environment.js";
import { socketFolder } from "../../../plugins/driver-raw-exec/socket-folder.js";
import { validateTaskConfig } from "../../../plugins/driver-raw-exec/task-config.js";
import { lookUpUser } from "../../../plugins/driver-raw-exec/user.js";

const drivers: RawExecDriver[] = [];
const folders: string[] = [];
after(async () => {
  for (const driver of drivers) await driver.shutdown({ killTasks: true });
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "drover-exec-"));
  folders.push(made);
  return made;
}

function makeDriver(
  stateDir: string,
  overrides: { tether?: number; linger?: number; enabled?: boolean } = {},
) {
  const driver = new RawExecDriver(quietLogger, {
    enabled: true,
    stateDir,
    denylist: [],
    linger: 200,
    tether: 0,
    ...overrides,
  });
  drivers.push(driver);
  return driver;
}

const shell = (text: string) => ({ command: "/bin/sh", args: ["-c", text] });

function executorOf(task: DriverTask): { name: string; pid: number; startTime: number } {
  return task.state.data.executor as { name: string; pid: number; startTime: number };
}

function identityOf(task: DriverTask) {
  return { pid: task.pid!, startTime: task.state.data.startTime as number };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 15 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("tasks share one executor, which leaves when they are gone and the agent too", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const one = await driver.start(await makeTaskConfig(root, "a/one", shell("sleep 600")));
  const two = await driver.start(await makeTaskConfig(root, "a/two", shell("sleep 600")));
  assert.deepEqual(executorOf(one), executorOf(two));
  assert.notEqual(readStat(one.pid!)!.session, readStat(two.pid!)!.session);
  assert.equal(statSync(join(root, "raw_exec")).mode & 0o777, 0o700);
  assert.equal(statSync(join(root, "raw_exec", executorOf(one).name)).mode & 0o777, 0o600);
  for (const task of [one, two]) {
    await task.stop("SIGKILL", 1000);
    await task.destroy();
  }
  assert.ok(isAlive(executorOf(one)));
  await driver.shutdown({ killTasks: false });
  await until("the executor to leave", () => !isAlive(executorOf(one)));
  assert.ok(!existsSync(join(root, "raw_exec", executorOf(one).name)));
});

test("nothing secret is in the executor's arguments or environment", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const config = await makeTaskConfig(root, "a/one", shell("sleep 600"), { env: { TOKEN: "hush-hush" } });
  const task = await driver.start(config);
  const { pid } = executorOf(task);
  assert.ok(!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("hush-hush"));
  assert.ok(!readFileSync(`/proc/${pid}/environ`, "utf8").includes("hush-hush"));
  assert.ok(readFileSync(`/proc/${task.pid}/environ`, "utf8").includes("hush-hush"));
});

test("a lost executor takes its tasks along, and new tasks get a new one", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const task = await driver.start(await makeTaskConfig(root, "a/one", shell("sleep 600 & sleep 600")));
  process.kill(executorOf(task).pid, "SIGKILL");
  const result = await task.wait();
  assert.equal(result.exitCode, -1);
  assert.match(result.error ?? "", /^executor lost/);
  await until("the task's processes gone", () => !isAlive(identityOf(task)));
  await task.destroy();
  const next = await driver.start(await makeTaskConfig(root, "a/one", shell("exit 0")));
  assert.equal((await next.wait()).exitCode, 0);
  assert.notEqual(executorOf(next).pid, executorOf(task).pid);
});

test("a task whose executor died with the agent is killed, not left unseen", async () => {
  const root = folder();
  const first = makeDriver(root);
  const task = await first.start(await makeTaskConfig(root, "a/one", shell("sleep 600")));
  await first.shutdown({ killTasks: false });
  process.kill(executorOf(task).pid, "SIGKILL");
  await until("the executor dead", () => !isAlive(executorOf(task)));
  await assert.rejects(makeDriver(root).recover(task.state), /executor lost/);
  await until("the task dead", () => !isAlive(identityOf(task)));
});

test("a process that only has the same pid is never touched", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const task = await driver.start(await makeTaskConfig(root, "a/one", shell("sleep 600")));
  const identity = identityOf(task);
  killSession({ pid: identity.pid, startTime: identity.startTime - 1 });
  killSession({ pid: identity.pid, startTime: identity.startTime + 1 });
  assert.ok(isAlive(identity));
  const state = { ...task.state, data: { ...task.state.data, startTime: identity.startTime - 1 } };
  await assert.rejects(makeDriver(root).recover(state), /no longer knows/);
  const otherBoot = { ...task.state, data: { ...task.state.data, bootId: "another" } };
  await assert.rejects(makeDriver(root).recover(otherBoot), /machine was restarted/);
  assert.ok(isAlive(identity));
});

test("children that a task leaves behind end with it", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const config = await makeTaskConfig(root, "a/one", shell("sleep 600 & echo $! > child; exit 0"));
  const task = await driver.start(config);
  await task.wait();
  const child = Number(readFileSync(join(config.taskDir, "child"), "utf8"));
  await until("the child gone", () => !["S", "R"].includes(readStat(child)?.state ?? ""));
});

test("a second start of the same task replaces the first", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const config = await makeTaskConfig(root, "a/one", shell("sleep 600"));
  const first = await driver.start(config);
  const second = await driver.start(config);
  assert.equal((await first.wait()).signal, 9);
  assert.ok(isAlive(identityOf(second)));
  assert.equal((await driver.find("a/one"))?.pid, second.pid);
});

test("a program can open /dev/stdout", async () => {
  const root = folder();
  const driver = makeDriver(root);
  const config = await makeTaskConfig(
    root,
    "a/one",
    shell("echo through > /dev/stdout; echo too > /dev/stderr"),
  );
  assert.equal((await (await driver.start(config)).wait()).exitCode, 0);
  assert.equal(readFileSync(join(config.logDir, "one.stdout.0"), "utf8"), "through\n");
  assert.equal(readFileSync(join(config.logDir, "one.stderr.0"), "utf8"), "too\n");
});

test("a development agent that dies takes its tasks along", async () => {
  const root = folder();
  const driver = makeDriver(root, { tether: 50 });
  const task = await driver.start(await makeTaskConfig(root, "a/one", shell("sleep 600")));
  await driver.shutdown({ killTasks: false });
  await until("the task gone", () => !isAlive(identityOf(task)) && !isAlive(executorOf(task)));
});

test("an executor of another protocol version keeps its task, and new tasks get a new executor", async () => {
  const root = folder();
  const old = makeDriver(root);
  const task = await old.start(
    await makeTaskConfig(root, "a/one", shell("trap 'exit 0' TERM; while :; do sleep 0.02; done")),
  );
  await old.shutdown({ killTasks: false });
  // Stands before the executor and greets with a version from the future.
  const name = "executor-00000000.sock";
  const future = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.write(`${JSON.stringify({ hello: { protocol: 999, pid: process.pid } })}\n`);
  });
  await new Promise<void>((resolve) => future.listen(join(root, "raw_exec", name), resolve));
  rmSync(join(root, "raw_exec", executorOf(task).name));
  const driver = makeDriver(root);
  const state = { ...task.state, data: { ...task.state.data, executor: { ...executorOf(task), name } } };
  const found = await driver.recover(state);
  assert.equal(found.pid, task.pid);
  const fresh = await driver.start(await makeTaskConfig(root, "a/two", shell("exit 0")));
  assert.notEqual(executorOf(fresh).name, name);
  await found.stop("SIGTERM", 10_000);
  const result = await found.wait();
  assert.equal(result.exitCode, -1);
  assert.match(result.error ?? "", /speaks protocol 999/);
  await driver.shutdown({ killTasks: true });
  await new Promise((resolve) => future.close(resolve));
  process.kill(executorOf(task).pid, "SIGTERM");
});

test("a socket path that is too long moves to a private folder of the system", () => {
  const root = folder();
  const deep = join(root, "x".repeat(60), "y".repeat(60));
  mkdirSync(deep, { recursive: true });
  const found = socketFolder(deep);
  folders.push(found);
  assert.ok(found.startsWith(tmpdir()));
  assert.ok(Buffer.byteLength(join(found, "executor-12345678.sock.new")) <= 107);
  assert.equal(statSync(found).mode & 0o777, 0o700);
  assert.equal(socketFolder(deep), found);
});

test("a command is looked for in the task's folder and in PATH, and errors say where", async () => {
  const root = folder();
  mkdirSync(join(root, "local"));
  writeFileSync(join(root, "local/tool"), "#!/bin/sh\n", { mode: 0o755 });
  writeFileSync(join(root, "plain"), "x", { mode: 0o644 });
  assert.equal(await findCommand("tool", root, "/bin"), join(root, "local/tool"));
  assert.equal(await findCommand("sh", root, "/nowhere:/bin"), "/bin/sh");
  await assert.rejects(findCommand("none", root, "/bin"), /command "none" not found: .*PATH \(\/bin\)/);
  await assert.rejects(findCommand("/none", root, ""), /command "\/none" does not exist on this node/);
  await assert.rejects(findCommand("/tmp", root, ""), /is not a file/);
  if (process.getuid?.() !== 0) await assert.rejects(findCommand("./plain", root, ""), /not executable/);
});

test("every error of a config is named, with the nearest known key", () => {
  assert.deepEqual(validateTaskConfig({ comand: "x", args: [["y"], 1], zzzzzz: 1 }), [
    'missing "command": the program to run',
    '"args[0]" must be a string, not a list',
    'unknown key "comand", did you mean "command"?',
    'unknown key "zzzzzz"; known keys are "command", "args"',
  ]);
});

test("tokens of the agent's environment don't reach tasks", () => {
  const host = { PATH: "/bin", VAULT_TOKEN: "a", AWS_SECRET_ACCESS_KEY: "b", HOME: "/root" };
  assert.deepEqual(taskEnvironment(host, { HOME: "/task" }, denylistOf({})), { PATH: "/bin", HOME: "/task" });
  assert.deepEqual(taskEnvironment(host, {}, denylistOf({ "env.denylist": "HOME, PATH,VAULT_TOKEN" })), {
    AWS_SECRET_ACCESS_KEY: "b",
  });
});

test("an unknown user is refused, and root runs tasks as another", async () => {
  await assert.rejects(lookUpUser("no-such-user"), /user "no-such-user" of the task is unknown on this node/);
  assert.equal(await lookUpUser(""), undefined);
  const root = folder();
  const driver = makeDriver(root);
  const config = await makeTaskConfig(root, "a/one", shell("id -u"), { user: "daemon" });
  if (process.getuid?.() !== 0) {
    await assert.rejects(driver.start(config), /the agent is not root/);
    return;
  }
  const task = await driver.start({ ...config, taskDir: "/" });
  assert.equal((await task.wait()).exitCode, 0);
  assert.equal(readFileSync(join(config.logDir, "one.stdout.0"), "utf8"), "1\n");
});

test("a disabled driver says so and starts nothing", async () => {
  const root = folder();
  const driver = makeDriver(root, { enabled: false });
  assert.deepEqual(await driver.fingerprint(), {
    Attributes: null,
    Detected: false,
    HealthDescription: "disabled",
    Healthy: false,
  });
  await assert.rejects(driver.start(await makeTaskConfig(root, "a/one", shell("true"))), /disabled/);
  assert.deepEqual(readdirSync(root).includes("raw_exec"), false);
});
