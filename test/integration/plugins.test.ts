import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts, type Running } from "./process.js";

const folder = mkdtempSync(join(tmpdir(), "drover-plugins-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** An agent in development mode with one plugin from a file that lies nowhere near the checkout. */
async function agentWith(
  t: TestContext,
  name: string,
  source: string,
): Promise<{ agent: Running; api: string }> {
  const file = join(folder, `${name}.mjs`);
  const config = join(folder, `${name}.json`);
  writeFileSync(file, source);
  writeFileSync(config, JSON.stringify({ plugin: [{ [name]: [{ source: file }] }] }));
  const [http, rpc] = await freePorts(2);
  const agent = drover(["agent", "-dev", "-config", config, `-http-port=${http}`, `-rpc-port=${rpc}`]);
  // In order, so that its temporary folder goes too.
  t.after(() => agent.kill("SIGINT"));
  return { agent, api: `http://127.0.0.1:${http}/v1` };
}

async function ready(agent: Running, api: string): Promise<void> {
  await eventually("a ready node", async () => {
    if (!agent.alive) throw new Error(agent.output);
    const nodes = (await (await fetch(`${api}/nodes`)).json()) as { Status: string }[];
    return nodes.some((node) => node.Status === "ready");
  });
}

const job = (extra: object): string =>
  JSON.stringify({
    Job: {
      ID: "plugged",
      Name: "plugged",
      Type: "service",
      Datacenters: ["dc1"],
      TaskGroups: [
        { Name: "g", Count: 1, Tasks: [{ Name: "t", Driver: "raw_exec", Config: { command: "/bin/true" } }] },
      ],
      ...extra,
    },
  });

test("an admission hook from a file refuses jobs and lets others pass", { timeout: 60_000 }, async (t) => {
  const { agent, api } = await agentWith(
    t,
    "owner-required",
    `import { AdmissionHook, definePlugin } from "@drover/plugin-sdk";
import { z } from "zod";
export default definePlugin({
  name: "owner-required",
  config: z.strictObject({ key: z.string().default("owner") }),
  provides: [AdmissionHook],
  register(container, config) {
    container.register(AdmissionHook, {
      useValue: {
        name: "owner-required",
        order: 500,
        admit: ({ job }) =>
          job.Meta?.[config.key] === undefined ? { errors: ["meta." + config.key + " is required"] } : {},
      },
    });
  },
});
`,
  );
  await ready(agent, api);
  const refused = await fetch(`${api}/jobs`, { method: "POST", body: job({}) });
  assert.equal(refused.status, 500);
  assert.match(await refused.text(), /meta\.owner is required/);
  const taken = await fetch(`${api}/jobs`, { method: "POST", body: job({ Meta: { owner: "a" } }) });
  assert.equal(taken.status, 200, await taken.text());
});

test("a scheduler from a file runs in the threads and handles its own job type", {
  timeout: 60_000,
}, async (t) => {
  const { agent, api } = await agentWith(
    t,
    "mine",
    `import { definePlugin, Scheduler } from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
export default definePlugin({
  name: "mine",
  provides: [Scheduler],
  register(container) {
    container.register(Scheduler, { useValue: genericScheduler({ type: "night", batch: true }) });
  },
});
`,
  );
  await ready(agent, api);
  const answer = await fetch(`${api}/jobs`, { method: "POST", body: job({ Type: "night" }) });
  assert.equal(answer.status, 200, await answer.text());
  await eventually("the job done", async () => {
    const list = (await (await fetch(`${api}/job/plugged/allocations`)).json()) as { ClientStatus: string }[];
    return list.some((allocation) => allocation.ClientStatus === "complete");
  });
});

test("a scheduler that can't load in its thread ends the agent with its reason", {
  timeout: 60_000,
}, async (t) => {
  const { agent } = await agentWith(
    t,
    "threadshy",
    `import { isMainThread } from "node:worker_threads";
import { definePlugin, Scheduler } from "@drover/plugin-sdk";
if (!isMainThread) throw new Error("not in a thread, please");
export default definePlugin({
  name: "threadshy",
  provides: [Scheduler],
  register(container) {
    container.register(Scheduler, { useValue: { type: "night", async process() {} } });
  },
});
`,
  );
  const { code } = await agent.exited;
  assert.notEqual(code, 0);
  assert.match(agent.output, /scheduling threads can't run/);
  assert.match(agent.output, /not in a thread, please/);
});

test("a scheduler block that names what no plugin brings ends the agent with file, line and key", {
  timeout: 60_000,
}, async (t) => {
  const config = join(folder, "rules.hcl");
  writeFileSync(config, 'scheduler "service" {\n  deadline = "10s"\n  scorers  = ["carbon=2"]\n}\n');
  const [http, rpc] = await freePorts(2);
  const agent = drover(["agent", "-dev", "-config", config, `-http-port=${http}`, `-rpc-port=${rpc}`]);
  t.after(() => agent.kill("SIGINT"));
  const { code } = await agent.exited;
  assert.notEqual(code, 0);
  const said = `${config}:3: scheduler.service.scorers: no plugin of this server brings a node scorer "carbon"; known: none`;
  assert.ok(agent.output.includes(said), agent.output);
});
