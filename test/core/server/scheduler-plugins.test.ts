/** What a scheduler, filter or scorer from elsewhere may do to a server: nothing but fail its own evaluation. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Evaluation, OfferedPart, SchedulerRule } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import type { CheckedScheduler } from "../../../core/kernel/index.js";
import { SchedulerCatalog } from "../../../core/server/scheduler-catalog.js";
import { BenchServer, type BenchServerOptions, paperJob, paperNode } from "./bench-server.js";

const folder = mkdtempSync(join(tmpdir(), "drover-scheduler-plugins-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const SDK = import.meta.resolve("@drover/plugin-sdk");
const SCHEDULING = import.meta.resolve("@drover/plugin-sdk/scheduling");

function pluginFile(name: string, body: string): string {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(
    file,
    `import { definePlugin, NodeFilter, NodeScorer, Scheduler, generateUUID } from ${JSON.stringify(SDK)};
import { genericScheduler, placeAllocation } from ${JSON.stringify(SCHEDULING)};
${body}`,
  );
  return pathToFileURL(file).href;
}

let serial = 0;

/** A plugin whose scheduler of type `night` does with a job what the body of its `meta.case` says, of `process(context)`. */
function schedulerPlugin(cases: readonly (readonly [name: string, body: string])[]): CheckedScheduler {
  const name = `stranger-${++serial}`;
  const bodies = cases.map(([key, body]) => `${JSON.stringify(key)}: async (context) => { ${body} }`);
  const module = pluginFile(
    name,
    `const built = genericScheduler({ type: "night", batch: true });
const cases = { ${bodies.join(",\n")} };
export default definePlugin({
  name: "${name}",
  provides: [Scheduler],
  register(container) {
    container.registerInstance(Scheduler, {
      type: "night",
      process: (context) =>
        cases[context.state.job(context.evaluation.Namespace, context.evaluation.JobID).Meta.case](context),
    });
  },
});`,
  );
  return { plugin: name, module: { module, config: {} }, types: ["night"], filters: [], scorers: [] };
}

interface Part extends OfferedPart {
  /** Bodies of `filter(candidates, context)` and `score(candidates, scores, context)`. */
  readonly filter?: string;
  readonly score?: string;
}

/** A plugin with a filter and a scorer of each name. */
function partsPlugin(parts: readonly Part[]): CheckedScheduler {
  const name = `stranger-${++serial}`;
  const registered = parts.map(
    ({ name: part, applies, filter = "return {};", score = "return false;" }) => `
    container.registerInstance(NodeFilter, {
      name: "${part}", applies: "${applies}", filter(candidates, context) { ${filter} }
    });
    container.registerInstance(NodeScorer, {
      name: "${part}", applies: "${applies}", score(candidates, scores, context) { ${score} }
    });`,
  );
  const module = pluginFile(
    name,
    `export default definePlugin({
  name: "${name}",
  provides: [NodeFilter, NodeScorer],
  register(container) { ${registered.join("")} },
});`,
  );
  const offered = parts.map(({ name: part, applies }) => ({ name: part, applies }));
  return { plugin: name, module: { module, config: {} }, types: [], filters: offered, scorers: offered };
}

const rows = "[...Array(candidates.length).keys()].filter((row) => candidates.has(row))";

/** A server with one ready node; `stop` it. */
async function bench(options: BenchServerOptions): Promise<BenchServer> {
  const server = new BenchServer([], [], undefined, {
    ...options,
    server: { eval_delivery_limit: 1, ...options.server },
  });
  await server.start();
  await server.register(paperNode());
  return server;
}

async function submit(server: BenchServer, job: object): Promise<string> {
  const { EvalID } = await server.server.endpoints.jobs.register({
    job,
    namespace: "default",
    region: "global",
    enforceIndex: false,
    jobModifyIndex: 0,
    preserveCounts: false,
  });
  return EvalID;
}

/** A job of the plugin's scheduler. */
const strange = (what: string): object =>
  paperJob(`strange ${what}`.replaceAll(/[^a-z]+/g, "-"), 1, 100, { Type: "night", Meta: { case: what } });

async function ended(server: BenchServer, id: string): Promise<Evaluation> {
  let found: Evaluation | null = null;
  await eventually(
    "an evaluation that ended",
    () => {
      using snapshot = server.state.snapshot();
      found = snapshot.evaluation(id);
      return found !== null && found.Status !== "pending";
    },
    60_000,
  );
  return found!;
}

/** The evaluation of the job fails with the reason, nothing of it is placed, and another job is, as if nothing had been. */
async function failsAlone(
  server: BenchServer,
  plugin: CheckedScheduler,
  what: string,
  reason: RegExp,
): Promise<Evaluation> {
  const job = strange(what) as { ID: string };
  const evaluation = await ended(server, await submit(server, job));
  assert.equal(evaluation.Status, "failed");
  const description = evaluation.StatusDescription ?? "";
  assert.ok(description.includes(`scheduler plugin "${plugin.plugin}": `), description);
  assert.match(description, reason);
  assert.equal(server.live(job.ID).length, 0);
  const honest = `honest-${++serial}`;
  await submit(server, paperJob(honest, 1, 10));
  await eventually("an honest job placed", () => server.live(honest).length === 1);
  return evaluation;
}

const deadline = (milliseconds: number): SchedulerRule => ({
  filters: [],
  scorers: [],
  deadline: milliseconds,
  namespaces: {},
});

describe("a scheduler plugin that fails", () => {
  const failures: readonly [what: string, body: string, reason: RegExp][] = [
    ["throws", `throw new Error("boom");`, /evaluation reached delivery limit: .*: boom$/],
    ["throws what is no error", "throw Symbol('odd');", /threw Symbol\(odd\), which is no Error/],
    [
      "throws what can't be shown",
      "throw { toString() { throw new Error('no') } };",
      /threw something that can't be shown/,
    ],
    ["never returns", "for (;;) {}", /not done within its deadline of 1 s$/],
    ["never settles", "await new Promise(() => {});", /not done within its deadline of 1 s$/],
    ["ends its thread", "process.exit(3);", /it ended its thread \(process\.exit, code 3\)$/],
    [
      "leaves an exception that nobody catches",
      `setImmediate(() => { throw new Error("loose"); }); await new Promise(() => {});`,
      /its thread ended with an exception that nobody caught: loose$/,
    ],
  ];
  const plugin = schedulerPlugin(failures.map(([what, body]) => [what, body]));
  let server: BenchServer;
  before(async () => {
    server = await bench({ plugins: [plugin], rules: { night: deadline(1_000) } });
  });
  after(() => server.stop());
  for (const [what, , reason] of failures) {
    test(`and ${what} fails its evaluation alone`, () =>
      failsAlone(server, plugin, what, reason).then(() => {}));
  }
});

describe("a scheduler plugin", () => {
  const plugin = schedulerPlugin([
    ["greedy", "const kept = []; for (;;) kept.push(new Array(100_000).fill(kept.length + 0.5));"],
    ["exits", "process.exit(1);"],
    ["hangs", "for (;;) {}"],
  ]);

  test("that takes all the memory it can get fails its evaluation alone", async (t) => {
    const server = await bench({ plugins: [plugin] });
    t.after(() => server.stop());
    await failsAlone(server, plugin, "greedy", /its thread ran out of memory \(1024 MiB\)$/);
  });

  test("is tried again up to the delivery limit; then a later evaluation follows up", async (t) => {
    const server = await bench({ plugins: [plugin], server: { eval_delivery_limit: 2 } });
    t.after(() => server.stop());
    const evaluation = await ended(server, await submit(server, strange("exits")));
    assert.equal(evaluation.Status, "failed");
    assert.match(evaluation.StatusDescription ?? "", /^evaluation reached delivery limit: scheduler plugin/);
    assert.notEqual(evaluation.NextEval ?? "", "");
  });

  test("that hangs holds up no evaluation of the others", async (t) => {
    const server = await bench({ plugins: [plugin] });
    t.after(() => server.stop());
    await submit(server, strange("hangs"));
    for (const id of ["a", "b", "c"]) await submit(server, paperJob(id, 1));
    await eventually("three jobs placed beside it", () =>
      ["a", "b", "c"].every((id) => server.live(id).length === 1),
    );
  });
});

/** A catalog that takes every plugin for a built-in one, so that evaluations share threads. */
class TrustingCatalog extends SchedulerCatalog {
  override get builtIn(): readonly CheckedScheduler[] {
    return this.plugins;
  }

  override get hasGuests(): boolean {
    return false;
  }

  override guestType(): boolean {
    return false;
  }

  override guestsPlace(): boolean {
    return false;
  }
}

test("who shared a thread with an evaluation that ended it is delivered again, and that does not count", async (t) => {
  const plugin = schedulerPlugin([
    ["slow", "await new Promise((resolve) => setTimeout(resolve, 200)); await built.process(context);"],
    ["hangs", "await new Promise((resolve) => setTimeout(resolve, 50)); for (;;) {}"],
  ]);
  // A delivery limit of one: a delivery that counted would be the last.
  const server = await bench({
    plugins: [plugin],
    rules: { night: deadline(1_500) },
    catalog: TrustingCatalog,
  });
  t.after(() => server.stop());
  const job = (ID: string, what: string): object => ({ ...strange(what), ID, Name: ID });
  const guilty = submit(server, job("guilty", "hangs"));
  const innocent = ["a", "b", "c"];
  const evaluations = await Promise.all(innocent.map((id) => submit(server, job(id, "slow"))));
  for (const id of evaluations) assert.equal((await ended(server, id)).Status, "complete");
  for (const id of innocent) assert.equal(server.live(id).length, 1);
  const failed = await ended(server, await guilty);
  assert.equal(failed.Status, "failed");
  assert.match(failed.StatusDescription ?? "", /not done within its deadline of 1\.5 s$/);
});

/** An allocation as a scheduler of the job makes it, and a plan around it. */
const ONE = `
    const job = context.state.job(context.evaluation.Namespace, context.evaluation.JobID);
    const plan = context.newPlan(job);
    const [node] = [...context.state.nodes()];
    const placer = context.placer(plan);
    const group = job.TaskGroups[0];
    const place = () => {
      const placed = placer.place({ job, group, name: job.ID + ".g[0]", previous: null });
      return { ...plain(), AllocatedResources: placed.resources, Metrics: placed.metrics };
    };
    const plain = () => {
      return {
        ID: generateUUID(), EvalID: context.evaluation.ID, Name: job.ID + ".g[0]", Namespace: job.Namespace, JobID: job.ID,
        JobVersion: job.Version, TaskGroup: group.Name, NodeID: node.ID, NodeName: node.Name, Job: null, DeploymentID: "",
        ClientStatus: "pending", ClientDescription: "",
        DesiredStatus: "run", AllocModifyIndex: 0, CreateIndex: 0, ModifyIndex: 0, CreateTime: 1, ModifyTime: 1,
        DeploymentStatus: null, NetworkStatus: null, TaskStates: null,
      };
    };
    const done = () => context.updateEvaluation({ ...context.evaluation, Status: "complete" });
    const allocation = place();
`;

describe("an impossible plan", () => {
  const plans: readonly [string, string, RegExp][] = [
    ["that is no object", "await context.submitPlan(42);", /the plan is a number, not an object/],
    ["of null", "await context.submitPlan(null);", /the plan is null, not an object/],
    [
      "on an unknown node",
      "allocation.NodeID = generateUUID(); placeAllocation(plan, allocation); await context.submitPlan(plan);",
      /places allocations on node [0-9a-f-]+, which does not exist/,
    ],
    [
      "that puts more on a node than it has",
      `for (let i = 0; i < 50; i++) placeAllocation(plan, { ...allocation, ID: generateUUID() });
       await context.submitPlan(plan);`,
      /the plan puts more on node [0-9a-f-]+ than it has: cpu 5000 of 4000/,
    ],
    [
      "of another job",
      'allocation.JobID = "theirs"; placeAllocation(plan, allocation); await context.submitPlan(plan);',
      /places allocation [0-9a-f-]+ of job "theirs"/,
    ],
    [
      "that names an allocation twice",
      "placeAllocation(plan, allocation); placeAllocation(plan, allocation); await context.submitPlan(plan);",
      /names allocation [0-9a-f-]+ twice/,
    ],
    [
      "with a value of the wrong type",
      'allocation.AllocatedResources = { ...allocation.AllocatedResources, Shared: { DiskMB: "much", Networks: null, Ports: null } };' +
        "placeAllocation(plan, allocation); await context.submitPlan(plan);",
      /the Shared\.DiskMB "much"/,
    ],
    [
      "under another delivery's token",
      'plan.EvalToken = "mine"; await context.submitPlan(plan);',
      /EvalToken is not that of this delivery/,
    ],
    [
      "whose exception is caught",
      "plan.EvalID = 1; const caught = () => undefined; await context.submitPlan(plan).catch(caught); await done().catch(caught);",
      /EvalID is 1, not the evaluation's/,
    ],
  ];
  const RESOURCES = `{
    Shared: { DiskMB: 10, Networks: null, Ports: null },
    TaskLifecycles: { t: null },
    Tasks: {
      t: {
        Cpu: { CpuShares: 100, ReservedCores: null },
        Memory: { MemoryMB: 32, MemoryMaxMB: 0 },
        Devices: null,
        Networks: null,
      },
    },
  }`;
  const plugin = schedulerPlugin([
    ...plans.map(([what, body]) => [what, `${ONE} ${body}`] as const),
    [
      "as it should be",
      `${ONE} placeAllocation(plan, allocation); await context.submitPlan(plan); await done();`,
    ],
    [
      "without a look at the node",
      `${ONE.replace("const allocation = place();", "")}
       const allocation = { ...plain(), AllocatedResources: ${RESOURCES}, Metrics: null };
       placeAllocation(plan, allocation); await context.submitPlan(plan); await done();`,
    ],
    [
      "of a stranger's evaluation",
      `await context.updateEvaluation({ ...context.evaluation, ID: generateUUID(), Status: "complete" });`,
    ],
  ]);
  let server: BenchServer;
  before(async () => {
    server = await bench({ plugins: [plugin], server: { eval_delivery_limit: 3 } });
  });
  after(() => server.stop());

  for (const [what, , reason] of plans) {
    test(`${what} fails its evaluation at once, without another delivery`, async () => {
      const evaluation = await failsAlone(server, plugin, what, reason);
      assert.equal(evaluation.NextEval ?? "", "");
    });
  }

  test("that places for a stopped job fails its evaluation", async () => {
    const job = strange("as it should be") as { ID: string };
    const first = await ended(server, await submit(server, job));
    assert.equal(first.Status, "complete", first.StatusDescription);
    const request = { namespace: "default", jobId: job.ID, purge: false };
    const { EvalID } = await server.server.endpoints.jobs.deregister(request);
    const second = await ended(server, EvalID);
    assert.equal(second.Status, "failed");
    assert.match(
      second.StatusDescription ?? "",
      /places allocations of job strange-as-it-should-be, which is stopped/,
    );
  });

  test("that the leader refused can't be called complete", async (t) => {
    const full = await bench({ plugins: [plugin] });
    t.after(() => full.stop());
    await submit(full, paperJob("full", 1, 3_950));
    await eventually("the node full", () => full.live("full").length === 1);
    const evaluation = await ended(full, await submit(full, strange("without a look at the node")));
    assert.equal(evaluation.Status, "failed");
    assert.match(
      evaluation.StatusDescription ?? "",
      /calls the evaluation complete, though its plan was refused/,
    );
  });

  test("and an evaluation that isn't its own are not written", () =>
    failsAlone(
      server,
      plugin,
      "of a stranger's evaluation",
      /writes evaluation [0-9a-f-]+, which is not the one it was given/,
    ).then(() => {}));
});

describe("a filter or scorer", () => {
  const violations: readonly [what: string, part: Omit<Part, "applies">, reason: RegExp][] = [
    [
      "that adds a node",
      { name: "adds", filter: "candidates.words[0] |= 1 << 20; return {};" },
      /^node filter "adds" of plugin "[a-z0-9-]+" added node row 20 to the candidates; a filter may only remove$/,
    ],
    [
      "that removes without a reason",
      { name: "mute", filter: `candidates.remove(${rows}[0]); return {};` },
      /^node filter "mute" of plugin "[a-z0-9-]+" removed 1 nodes and gave reasons for 0$/,
    ],
    [
      "that gives no reasons at all",
      { name: "wordless", filter: "return null;" },
      /^node filter "wordless" of plugin "[a-z0-9-]+" returned null/,
    ],
    [
      "whose score is no number",
      { name: "nan", score: `for (const row of ${rows}) scores[row] = Number.NaN; return true;` },
      /^node scorer "nan" of plugin "[a-z0-9-]+" gave node [0-9a-f-]+ the score NaN, which is no finite number$/,
    ],
    [
      "that does not say whether it counts",
      { name: "undecided", score: "scores.fill(1);" },
      /^node scorer "undecided" of plugin "[a-z0-9-]+" returned undefined of score\(\)/,
    ],
    [
      "that throws",
      { name: "throws", filter: `throw new Error("no filter today");` },
      /delivery limit: node filter "throws" of plugin "[a-z0-9-]+": no filter today$/,
    ],
    [
      "that hangs",
      { name: "hangs", score: "for (;;) {}" },
      /scheduler plugin "scheduler-service" with node filter "hangs" of .*, node scorer "hangs" of plugin "[a-z0-9-]+": not done within/,
    ],
  ];
  const three = { name: "three", score: `for (const row of ${rows}) scores[row] = 3; return true;` };
  const plugin = partsPlugin(
    [...violations.map(([, part]) => part), three].map((part) => ({ ...part, applies: "named" })),
  );
  let server: BenchServer;
  before(async () => {
    server = await bench({
      plugins: [plugin],
      rules: {
        service: deadline(1_000),
        batch: { filters: [], scorers: ["three=0.5"], namespaces: { default: { filters: [], scorers: [] } } },
      },
    });
  });
  after(() => server.stop());

  for (const [what, { name }, reason] of violations) {
    test(`${what} fails the evaluation with its name`, async () => {
      const job = paperJob(name, 1, 10, { Meta: { "drover.filters": name, "drover.scorers": name } });
      const evaluation = await ended(server, await submit(server, job));
      assert.equal(evaluation.Status, "failed");
      assert.match(evaluation.StatusDescription ?? "", reason);
      const plain = `beside-${name}`;
      await submit(server, paperJob(plain, 1, 10));
      await eventually("a job that doesn't name it placed", () => server.live(plain).length === 1);
    });
  }

  const scores = async (
    of: BenchServer,
    id: string,
    extra: object = {},
  ): Promise<Record<string, number> | undefined> => {
    const evaluation = await ended(of, await submit(of, paperJob(id, 1, 10, extra)));
    assert.equal(evaluation.Status, "complete", evaluation.StatusDescription);
    return of.live(id)[0]?.Metrics?.ScoreMetaData?.[0]?.Scores;
  };

  test("applies to jobs that name it, with their weight, and where the operator says so", async () => {
    assert.equal((await scores(server, "plain"))?.three, undefined);
    // 3 counts as 1.
    assert.equal((await scores(server, "named", { Meta: { "drover.scorers": " three " } }))?.three, 1);
    assert.equal((await scores(server, "weighted", { Meta: { "drover.scorers": "three=2" } }))?.three, 2);
    assert.equal((await scores(server, "batch", { Type: "batch" }))?.three, 0.5);
  });

  test("applies to every job where its plugin says so", async (t) => {
    const always = await bench({ plugins: [partsPlugin([{ ...three, applies: "always" }])] });
    t.after(() => always.stop());
    assert.equal((await scores(always, "plain"))?.three, 1);
  });

  test("that nobody brings is an error at registration, with the names there are", async () => {
    const Meta = { "drover.filters": "three, there", "drover.scorers": "three=20" };
    await assert.rejects(submit(server, paperJob("wrong", 1, 10, { Meta })), (error: Error) => {
      assert.match(
        error.message,
        /meta drover\.filters: no plugin of this server brings a node filter "there"; known: /,
      );
      assert.match(
        error.message,
        /meta drover\.scorers: weight of scorer "three" must be a number above 0 and at most 10, not "20"/,
      );
      return true;
    });
  });
});
