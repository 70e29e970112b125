import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../../core/cli/main.js", import.meta.url));

let folder: string;
let running: ChildProcess | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-agent-"));
});
afterEach(async () => {
  running?.kill("SIGKILL");
  running = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** Runs `drover` and collects what it prints. */
class Run {
  output = "";
  readonly #process: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(...args: string[]) {
    this.#process = spawn(process.execPath, [MAIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, TMPDIR: folder },
    });
    running = this.#process;
    for (const stream of [this.#process.stdout!, this.#process.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        this.#process.emit("printed");
      });
    }
    this.ended = once(this.#process, "close").then(([code]) => code as number | null);
    this.#process.on("close", () => this.#process.emit("printed"));
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  async printed(what: RegExp): Promise<void> {
    const end = AbortSignal.timeout(20_000);
    while (!what.test(this.output)) {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
        assert.fail(`ended without ${what}:\n${this.output}`);
      }
      await once(this.#process, "printed", { signal: end }).catch(() =>
        assert.fail(`no ${what} in:\n${this.output}`),
      );
    }
  }
}

/** An agent with one plugin, of which `body` is a part of the definition, and no built-in. */
async function agent(body: string, config = ""): Promise<Run> {
  const sdk = import.meta.resolve("@drover/plugin-sdk");
  const zod = import.meta.resolve("zod");
  await writeFile(
    join(folder, "probe.mjs"),
    `import { definePlugin } from "${sdk}";\nimport { z } from "${zod}";\n` +
      // A timer keeps the process up as a listener would.
      "const alive = setInterval(() => undefined, 1000);\n" +
      `export default definePlugin({ name: "probe", config: z.strictObject({ level: z.number().default(1) }), register() {}, ${body} });\n`,
  );
  await writeFile(
    join(folder, "agent.hcl"),
    `data_dir = "${folder}/data"\nbind_addr = "127.0.0.1"\nclient { enabled = true }\n${[
      "mqtt",
      "client-agent",
      "raw_exec",
      "http-api",
    ]
      .map((name) => `plugin "${name}" { enabled = false }\n`)
      .join("")}plugin "probe" {\n  source = "${folder}/probe.mjs"\n  config {\n    ${config}\n  }\n}\n`,
  );
  return new Run("agent", "-config", join(folder, "agent.hcl"));
}

test("an agent says what it is, logs after that, and ends with 0 when it is told to stop", async () => {
  const run = await agent(
    'start({ log }) { log.info({ answer: 42 }, "probing"); }, stop() { clearInterval(alive); }',
  );
  await run.printed(/probing/);
  run.signal("SIGTERM");
  assert.equal(await run.ended, 0);
  const parts = [
    /==> Loaded configuration from .*agent\.hcl\n==> Drover agent configuration:\n\n/,
    /Region: global \(DC: dc1\)/,
    /==> Drover agent started! Log data will stream in below:\n\n/,
    /\[INFO\] {2}probe: probing: answer=42\n/,
    /==> Caught signal: terminated/,
  ];
  const places = parts.map((part) => run.output.search(part));
  assert.ok(
    places.every((place, i) => place > (places[i - 1] ?? -1)),
    run.output,
  );
  assert.deepEqual(await readdir(join(folder, "data")), [], "the lock is released");
});

test("everything wrong with the configuration is said and the code is 1", async () => {
  const run = await agent("", "levle = 2");
  assert.equal(await run.ended, 1);
  assert.match(
    run.output,
    /Error starting agent: .*agent\.hcl:11: plugin "probe" config: levle: unknown key; did you mean "level"\?/,
  );
});

test("a plugin that throws in start is named and ends the agent with 1", async () => {
  const run = await agent('start() { throw new Error("no such device"); }');
  assert.equal(await run.ended, 1);
  assert.match(run.output, /Error starting agent: plugin "probe" failed in start: no such device/);
});

test("a plugin that can't go on ends the agent in order and with 1", async () => {
  const run = await agent(
    'start({ fatal }) { setImmediate(() => setImmediate(() => fatal(new Error("disk full")))); }, stop({ log }) { log.info({}, "closed"); }',
  );
  assert.equal(await run.ended, 1);
  assert.match(run.output, /plugin "probe" can't go on: disk full/);
  assert.match(run.output, /probe: closed/);
});

test("an error that nobody caught ends the agent in order and with 1", async () => {
  const run = await agent(
    'start() { setTimeout(() => void Promise.reject(new Error("lost")), 10); }, stop({ log }) { log.info({}, "closed"); }',
  );
  assert.equal(await run.ended, 1);
  assert.match(run.output, /==> The agent can't go on: lost/);
  assert.match(run.output, /probe: closed/);
});

test("a stop that hangs is ended after three seconds, or by a second signal", async () => {
  for (const second of [false, true]) {
    const run = await agent("stop() { return new Promise(() => undefined); }");
    await run.printed(/agent started/);
    run.signal("SIGINT");
    await run.printed(/Gracefully/);
    if (second) run.signal("SIGINT");
    assert.equal(await run.ended, 1);
    assert.match(
      run.output,
      second ? /Forced to end: a second signal came/ : /Forced to end: not everything stopped within 3 s/,
    );
  }
});

test("SIGHUP reads the files again: plugins get their changes, a wrong file changes nothing", async () => {
  const body =
    'reload({ level }, { log }) { log.info({ level }, "changed"); }, stop() { clearInterval(alive); }';
  const run = await agent(body);
  await run.printed(/agent started/);
  const file = join(folder, "agent.hcl");
  const text = (level: string) =>
    `data_dir = "${folder}/data"\nbind_addr = "127.0.0.1"\nclient { enabled = true }\nplugin "probe" {\n  source = "${folder}/probe.mjs"\n  config { level = ${level} }\n}\n`;
  await writeFile(file, text('"high"'));
  run.signal("SIGHUP");
  await run.printed(
    /\[ERROR\] agent: configuration not reloaded, the old one stays: .*agent\.hcl:6: .*level: expected number/,
  );
  await writeFile(file, text("5"));
  run.signal("SIGHUP");
  await run.printed(/probe: changed: level=5/);
  run.signal("SIGTERM");
  assert.equal(await run.ended, 0);
});
