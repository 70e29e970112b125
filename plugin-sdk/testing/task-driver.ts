/** Conformance kit of task drivers: what every implementation of `TaskDriver` must do. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { DriverTask, TaskConfig, TaskDriver } from "../contracts/task-driver.js";
import type { Task } from "../domain/index.js";

/** The driver under test. */
export interface TaskDriverSubject {
  /**
   * The driver of a fresh agent process on the same node; called again to play an agent's restart. What it started is
   * ended by `shutdown({ killTasks: true })`.
   */
  create(): TaskDriver | Promise<TaskDriver>;
  /** A task's `config` block that runs a text with /bin/sh. */
  script(text: string): Record<string, unknown>;
  /** A `config` block that passes `validate` and can't be started. */
  readonly unstartable: Record<string, unknown>;
  /** A `config` block with at least two errors. */
  readonly invalid: Record<string, unknown>;
}

/** A task's configuration in a folder of its own, with everything that a driver may look at. */
export async function makeTaskConfig(
  root: string,
  id: string,
  config: Record<string, unknown>,
  overrides: Partial<TaskConfig> = {},
): Promise<TaskConfig> {
  const [allocationId = "", name = ""] = id.split("/");
  const taskDir = join(root, allocationId, name);
  const folders = {
    allocDir: join(root, allocationId, "alloc"),
    taskDir,
    secretsDir: join(taskDir, "secrets"),
    logDir: join(root, allocationId, "alloc", "logs"),
  };
  for (const folder of [...Object.values(folders), join(taskDir, "local")])
    await mkdir(folder, { recursive: true });
  const resources = { CPU: 100, Cores: 0, DiskMB: 0, IOPS: 0, MemoryMB: 64, MemoryMaxMB: 0 };
  const task: Task = {
    Affinities: null,
    Artifacts: null,
    CSIPluginConfig: null,
    Config: config,
    Constraints: null,
    DispatchPayload: null,
    Driver: "",
    Env: null,
    KillSignal: "",
    KillTimeout: 5e9,
    Kind: "",
    Leader: false,
    Lifecycle: null,
    LogConfig: { MaxFileSizeMB: 10, MaxFiles: 10 },
    Meta: null,
    Name: name,
    Resources: { ...resources, Devices: null, Networks: null },
    RestartPolicy: null,
    ScalingPolicies: null,
    Services: null,
    ShutdownDelay: 0,
    Templates: null,
    User: "",
    Vault: null,
    VolumeMounts: null,
  };
  return {
    id,
    allocationId,
    task,
    config,
    env: { PATH: process.env.PATH ?? "" },
    user: "",
    ...folders,
    maxLogFiles: 10,
    maxLogFileSizeMB: 10,
    resources: { cpu: 100, memoryMB: 64 },
    ...overrides,
  };
}

/** Registers the tests with node:test. */
export function testTaskDriver(name: string, subject: TaskDriverSubject): void {
  describe(`${name} as a task driver`, () => {
    const drivers: TaskDriver[] = [];
    const folders: string[] = [];
    let count = 0;

    const create = async () => {
      const driver = await subject.create();
      drivers.push(driver);
      return driver;
    };
    const config = async (script: string, overrides: Partial<TaskConfig> = {}) => {
      const root = await mkdtemp(join(tmpdir(), "drover-driver-"));
      folders.push(root);
      count += 1;
      return makeTaskConfig(root, `alloc-${count}/web`, subject.script(script), overrides);
    };
    const log = async (task: TaskConfig, type: "stdout" | "stderr") => {
      const prefix = `${task.task.Name}.${type}.`;
      const numbers = (await readdir(task.logDir))
        .filter((file) => file.startsWith(prefix))
        .map((file) => Number(file.slice(prefix.length)))
        .sort((a, b) => a - b);
      const texts = await Promise.all(
        numbers.map((number) => readFile(join(task.logDir, prefix + number), "utf8")),
      );
      return { text: texts.join(""), numbers };
    };
    const finished = async (task: DriverTask) => {
      const result = await task.wait();
      await task.destroy();
      return result;
    };

    after(async () => {
      for (const driver of drivers) await driver.shutdown({ killTasks: true });
      for (const folder of folders) await rm(folder, { recursive: true, force: true });
    });

    it("reports itself healthy with an attribute of its own", async () => {
      const driver = await create();
      const info = await driver.fingerprint();
      assert.equal(info.Detected, true);
      assert.equal(info.Healthy, true, info.HealthDescription);
      assert.ok(Object.hasOwn(info.Attributes ?? {}, `driver.${driver.name}`));
    });

    it("names every error of a task's config at once", async () => {
      const driver = await create();
      assert.ok(driver.validate(subject.invalid).length >= 2);
      assert.deepEqual(driver.validate(subject.script("true")), []);
    });

    it("rejects a start that can't work with a sentence", async () => {
      const driver = await create();
      const task = await config("true");
      await assert.rejects(driver.start({ ...task, config: subject.unstartable }), (error: Error) => {
        assert.ok(error.message.length > 10, error.message);
        return true;
      });
    });

    it("tells the exit code", async () => {
      const driver = await create();
      const result = await finished(await driver.start(await config("exit 7")));
      assert.deepEqual({ code: result.exitCode, signal: result.signal }, { code: 7, signal: 0 });
    });

    it("passes environment and writes both outputs to the log files", async () => {
      const driver = await create();
      const task = await config('echo "out $GREETING"; echo err >&2', {
        env: { PATH: process.env.PATH ?? "", GREETING: "hello" },
      });
      await finished(await driver.start(task));
      assert.equal((await log(task, "stdout")).text, "out hello\n");
      assert.equal((await log(task, "stderr")).text, "err\n");
    });

    it("rotates logs by size and keeps the newest files only", async () => {
      const driver = await create();
      const task = await config("i=0; while [ $i -lt 500 ]; do echo line-$i; i=$((i+1)); done", {
        maxLogFiles: 2,
        maxLogFileSizeMB: 1024 / (1024 * 1024),
      });
      await finished(await driver.start(task));
      const first = await log(task, "stdout");
      assert.equal(first.numbers.length, 2);
      assert.ok(first.text.endsWith("line-499\n"));
      await finished(await driver.start(task));
      const second = await log(task, "stdout");
      assert.ok(
        Math.max(...second.numbers) > Math.max(...first.numbers),
        "the numbers go on after a restart",
      );
    });

    it("stops with the signal it was told", async () => {
      const driver = await create();
      const configuration = await config("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
      const task = await driver.start(configuration);
      await until(async () => (await log(configuration, "stdout")).text.includes("ready"));
      await task.stop("SIGTERM", 10_000);
      assert.equal((await finished(task)).exitCode, 3);
    });

    it("kills what ignores the signal after the timeout", async () => {
      const driver = await create();
      const configuration = await config("trap '' INT TERM; echo ready; while :; do sleep 0.05; done");
      const task = await driver.start(configuration);
      await until(async () => (await log(configuration, "stdout")).text.includes("ready"));
      await task.stop("SIGTERM", 100);
      const result = await finished(task);
      assert.deepEqual({ code: result.exitCode, signal: result.signal }, { code: 137, signal: 9 });
    });

    it("delivers a signal and leaves the task running", async () => {
      const driver = await create();
      const configuration = await config(
        "trap 'echo hup' HUP; trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done",
      );
      const task = await driver.start(configuration);
      await until(async () => (await log(configuration, "stdout")).text.includes("ready"));
      await task.signal("SIGHUP");
      await until(async () => (await log(configuration, "stdout")).text.includes("hup"));
      await task.stop("SIGTERM", 10_000);
      assert.equal((await finished(task)).exitCode, 0);
    });

    it("measures the memory of a running task", async () => {
      const driver = await create();
      const task = await driver.start(await config("sleep 60"));
      const stats = await task.stats();
      assert.ok(Object.values(stats.pids).some((process) => process.rss > 0));
      await task.stop("SIGKILL", 1000);
      await finished(task);
    });

    it("finds a task again after the agent was restarted, with its exit code and its log", async () => {
      const first = await create();
      const configuration = await config(
        "echo one; trap 'echo two; exit 5' TERM; while :; do sleep 0.05; done",
      );
      const started = await first.start(configuration);
      await until(async () => (await log(configuration, "stdout")).text.includes("one"));
      const state = JSON.parse(JSON.stringify(started.state)) as typeof started.state;
      await first.shutdown({ killTasks: false });

      const second = await create();
      const task = await second.recover(state);
      assert.equal(task.pid, started.pid);
      await task.stop("SIGTERM", 10_000);
      assert.equal((await finished(task)).exitCode, 5);
      assert.equal((await log(configuration, "stdout")).text, "one\ntwo\n");
    });

    it("knows the exit code of a task that ended while no agent was there", async () => {
      const first = await create();
      const configuration = await config("while [ ! -e go ]; do sleep 0.05; done; echo over; exit 9");
      const started = await first.start({ ...configuration });
      await first.shutdown({ killTasks: false });
      await mkdir(join(configuration.taskDir, "go"));
      await until(async () => (await log(configuration, "stdout")).text.includes("over"));

      const second = await create();
      assert.equal((await finished(await second.recover(started.state))).exitCode, 9);
    });

    it("refuses to recover what it released", async () => {
      const driver = await create();
      const task = await driver.start(await config("exit 0"));
      await finished(task);
      await assert.rejects(driver.recover(task.state));
    });
  });
}

/** Waits for a condition; rejects after ten seconds. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("the condition did not come true within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
