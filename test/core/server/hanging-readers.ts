/** Scheduling threads that are ended at their deadline again and again while a plugin reads the state for ever. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { generateUUID } from "@drover/plugin-sdk";
import { makeEvaluation, makeJob, makeNode, quietLogger } from "@drover/plugin-sdk/testing";
import { SchedulingThreads, ThreadEnded } from "../../../core/server/scheduling-threads.js";
import { nodeRegistration, openMachine, registration } from "../state/support.js";

/** What a plugin does for ever with `state`: rows, scans, indexes, and turns of the event loop between. */
const BODIES: Readonly<Record<string, string>> = {
  rows: `for (;;) state.job("default", "web");`,
  scans: `for (;;) [...state.nodes()];`,
  indexes: `for (;;) state.deploymentsByJob("default", "web");`,
  turns: `for (;;) { state.evaluationsByJob("default", "web"); await new Promise(setImmediate); }`,
};

/** Has `times` evaluations of each kind ended at their deadline. The process survives, or there is no more to say. */
export async function endHangingReaders(times: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "drover-hanging-readers-"));
  const file = join(folder, "readers.mjs");
  const schedulers = Object.entries(BODIES).map(
    ([type, body]) => `container.registerInstance(Scheduler, {
      type: "${type}", async process({ state }) { ${body} },
    });`,
  );
  writeFileSync(
    file,
    `import { definePlugin, Scheduler } from ${JSON.stringify(import.meta.resolve("@drover/plugin-sdk"))};
export default definePlugin({
  name: "readers",
  provides: [Scheduler],
  register(container) { ${schedulers.join("\n")} },
});`,
  );
  const machine = openMachine();
  machine.apply(
    registration(makeJob()),
    ...Array.from({ length: 50 }, () => nodeRegistration(makeNode({ ID: generateUUID() }))),
  );
  const threads = new SchedulingThreads(
    {
      threads: 2,
      kept: 1,
      overlap: false,
      memory: 256,
      workerData: {
        statePath: machine.store.path,
        columns: machine.store.columns,
        modules: [{ module: pathToFileURL(file).href, config: {} }],
        rules: {},
      },
    },
    quietLogger,
    (error) => {
      throw error;
    },
    () => {},
  );
  const one = async (Type: string): Promise<void> => {
    const evaluation = makeEvaluation(makeJob({ Type }));
    const task = { evaluation, token: "token", minIndex: machine.store.index(), now: 0 };
    await assert.rejects(
      threads.run(task, 20, () => assert.fail("it asks for nothing")),
      (error) =>
        error instanceof ThreadEnded && /not done within its deadline of 0\.02 s/.test(error.message),
    );
  };
  try {
    for (let time = 0; time < times; time++) await Promise.all(Object.keys(BODIES).map(one));
    // The last ones are still reading when the server stops.
    const left = Object.keys(BODIES).map((Type) => {
      const evaluation = makeEvaluation(makeJob({ Type }));
      const task = { evaluation, token: "token", minIndex: machine.store.index(), now: 0 };
      return assert.rejects(threads.run(task, 60_000, () => assert.fail("it asks for nothing")));
    });
    await threads.stop();
    await Promise.all(left);
  } finally {
    await threads.stop();
    await machine.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
