/** What `job plan` and `job history` print and how they end. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  type Job,
  type JobListStub,
  type JobPlanResponse,
  JobType,
  type PlanAnnotations,
} from "@drover/plugin-sdk";
import { makeJob } from "@drover/plugin-sdk/testing";
import {
  annotate,
  canonicalizeForState,
  diffJobs,
  diffVersions,
  parseJob,
} from "../../../core/jobspec/index.js";
import { jobText } from "../jobspec/fixtures.js";
import { FakeAgent, RECORDED_AT, type Result, runCommand } from "./run-command.js";

process.env.TZ = "UTC";

let folder: string;
let web: Job;
let file: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-plan-"));
  file = join(folder, "web.hcl");
  await writeFile(file, jobText("web"));
  web = canonicalizeForState(await parseJob(jobText("web"), { allowFS: false }));
});
after(() => rm(folder, { recursive: true }));

type Updates = NonNullable<PlanAnnotations["DesiredTGUpdates"]>[string];

const updates = (counts: Partial<Updates>): Updates => ({
  Canary: 0,
  DestructiveUpdate: 0,
  Ignore: 0,
  InPlaceUpdate: 0,
  Migrate: 0,
  Place: 0,
  Preemptions: 0,
  Stop: 0,
  ...counts,
});

interface Change {
  readonly before: Job | null;
  readonly after: Job;
  readonly counts: Readonly<Record<string, Partial<Updates>>>;
}

function answerOf({ before, after, counts }: Change, more: Partial<JobPlanResponse> = {}): JobPlanResponse {
  const desired = Object.entries(counts).map(([group, some]) => [group, updates(some)] as const);
  const annotations = { DesiredTGUpdates: Object.fromEntries(desired), PreemptedAllocs: null };
  const diff = diffJobs(before, after, true);
  annotate(diff, before, after, annotations);
  return {
    Annotations: annotations,
    CreatedEvals: null,
    Diff: diff,
    FailedTGAllocs: null,
    Index: 49,
    JobModifyIndex: 49,
    NextPeriodicLaunch: null,
    Warnings: "",
    ...more,
  };
}

async function planned(
  answer: JobPlanResponse,
  flags: readonly string[] = [],
  color = false,
): Promise<Result & { asked: unknown }> {
  await using agent = await FakeAgent.start({ "PUT /v1/job/web/plan": { body: answer } });
  const result = await runCommand(["job", "plan", ...flags, file], { NOMAD_ADDR: agent.address }, { color });
  return { ...result, asked: agent.asked[0]?.body };
}

const changed = (change: (job: Job) => void): Job => {
  const job = structuredClone(web);
  change(job);
  return job;
};

const count = (to: number): Job => changed((job) => (job.TaskGroups[0]!.Count = to));

/** The lines before the scheduler's. */
const diffOf = (text: string): string => text.slice(0, text.indexOf("\n\nScheduler dry-run:"));

const VERIFICATION = (index: number, command: string) => `Job Modify Index: ${index}
To submit the job with version verification run:

drover job run -check-index ${index} ${command}

When running the job with the check-index flag, the job will only be run if the
job modify index given matches the server-side version. If the index has
changed, another user has modified the job and the plan's results are
potentially invalid.
`;

describe("job plan", () => {
  test("prints what was recorded", async () => {
    const answer = answerOf({ before: count(3), after: web, counts: { app: { Canary: 1, Ignore: 2 } } });
    const { out, code, err } = await planned(answer);
    assert.equal(
      out,
      `+/- Job: "web"
+/- Task Group: "app" (1 canary, 2 ignore)
  +/- Count: "3" => "2" (forces destroy)
      Task: "server"

Scheduler dry-run:
- All tasks successfully allocated.

${VERIFICATION(49, file)}`,
    );
    assert.equal(err, "");
    assert.equal(code, 1);
  });

  test("sends the job, and asks for the difference unless told not to", async () => {
    const answer = answerOf({ before: web, after: web, counts: { app: { Ignore: 2 } } });
    const { asked } = await planned(answer, ["-policy-override"]);
    const { Job: sent, ...rest } = asked as { Job: Job };
    assert.deepEqual(rest, { Diff: true, PolicyOverride: true });
    assert.equal(sent.ID, "web");
    const without = await planned({ ...answer, Diff: null }, ["-diff=false"]);
    assert.equal((without.asked as { Diff: boolean }).Diff, false);
    assert.ok(without.out.startsWith("Scheduler dry-run:\n"));
    assert.equal(((await planned(answer, ["-diff=true"])).asked as { Diff: boolean }).Diff, true);
  });

  test("ends with 0 when no allocation comes or goes", async () => {
    const same = await planned(answerOf({ before: web, after: web, counts: { app: { Ignore: 2 } } }));
    assert.equal(same.code, 0);
    assert.equal(diffOf(same.out), 'Job: "web"\nTask Group: "app" (2 ignore)\n  Task: "server"');
    const inPlace = answerOf({ before: web, after: web, counts: { app: { InPlaceUpdate: 2 } } });
    assert.equal((await planned(inPlace)).code, 0);
  });

  for (const kind of ["Place", "Stop", "Migrate", "DestructiveUpdate", "Canary"] as const) {
    test(`ends with 1 for ${kind}`, async () => {
      const answer = answerOf({ before: web, after: web, counts: { app: { [kind]: 1 } } });
      assert.equal((await planned(answer)).code, 1);
    });
  }

  test("ends with 255 and the reason when it fails", async () => {
    await using agent = await FakeAgent.start({
      "PUT /v1/job/web/plan": { status: 500, body: 'dry run of job "web": no luck' },
    });
    const refused = await agent.run("job", "plan", file);
    assert.equal(refused.code, 255);
    assert.match(refused.err, /^Error during plan: .*no luck/);
    const missing = await agent.run("plan", join(folder, "nope.hcl"));
    assert.equal(missing.code, 255);
    assert.match(missing.err, /Error getting job struct/);
    const unreachable = await runCommand(["job", "plan", file], { NOMAD_ADDR: "http://127.0.0.1:1" });
    assert.equal(unreachable.code, 255);
    const nonsense = await runCommand(["job", "plan", file], { NOMAD_ADDR: "ftp://x" });
    assert.equal(nonsense.code, 255);
    assert.match(nonsense.err, /Error initializing client/);
  });

  test("ends with 255 for wrong usage too: 1 would say that allocations change", () => {
    const main = fileURLToPath(new URL("../../../core/cli/main.js", import.meta.url));
    for (const argv of [[], ["a.hcl", "-nonsense"]]) {
      const { status, stderr } = spawnSync(process.execPath, [main, "job", "plan", ...argv], {
        encoding: "utf8",
        timeout: 30_000,
      });
      assert.equal(status, 255, stderr);
      assert.match(stderr, /^error: /);
    }
    const help = spawnSync(process.execPath, [main, "job", "plan", "-help"], { timeout: 30_000 });
    assert.equal(help.status, 0);
  });

  test("only names what is new, and with -verbose shows it whole", async () => {
    const answer = answerOf(
      { before: null, after: web, counts: { app: { Place: 2 } } },
      { JobModifyIndex: 0 },
    );
    const short = await planned(answer);
    assert.equal(
      diffOf(short.out),
      `+ Job: "web"
+ Task Group: "app" (2 create)
  + Task: "server" (forces create)`,
    );
    assert.ok(short.out.includes("-check-index 0 "));
    const { out } = await planned(answer, ["-verbose"]);
    assert.ok(
      out.startsWith(`+ Job: "web"
+ AllAtOnce:   "false"
+ Dispatched:  "false"
+ Meta[owner]: "team-a"
+ Name:        "web"
+ Namespace:   "default"
+ Priority:    "50"
+ Region:      "global"
+ Stop:        "false"
+ Type:        "service"
+ Datacenters {
  + Datacenters: "dc1"
  }
+ Task Group: "app" (2 create)
  + Count: "2" (forces create)
  + Constraint {
    + LTarget: "\${attr.kernel.name}"
    + Operand: "="
    + RTarget: "linux"
    }
`),
      out,
    );
    assert.ok(
      out.includes(`
  + Network {
    + MBits: "0"
      Mode:  ""
    + Dynamic Port {
      + HostNetwork: "default"
      + Label:       "http"
      + To:          "0"
      }
    }
  + Task: "server" (forces create)
    + Driver:        "raw_exec"
`),
      out,
    );
  });

  test("shows an edited block with what is around it", async () => {
    const after = changed((job) => (job.TaskGroups[0]!.Tasks[0]!.Resources.MemoryMB = 128));
    const { out } = await planned(
      answerOf({ before: web, after, counts: { app: { DestructiveUpdate: 1, Ignore: 1 } } }),
    );
    assert.equal(
      diffOf(out),
      `+/- Job: "web"
+/- Task Group: "app" (1 create/destroy update, 1 ignore)
  +/- Task: "server" (forces create/destroy update)
    +/- Resources {
          CPU:         "100"
          Cores:       "0"
          DiskMB:      "0"
          IOPS:        "0"
      +/- MemoryMB:    "64" => "128"
          MemoryMaxMB: "0"
        }`,
    );
  });

  test("aligns what was added beside what was edited or deleted", async () => {
    const after = changed((job) => {
      job.Priority = 60;
      job.Meta = { team: "b" };
      job.TaskGroups.push(makeJob().TaskGroups[0]!);
    });
    const { out } = await planned(
      answerOf({ before: web, after, counts: { app: { Ignore: 2 }, g: { Place: 1 } } }),
    );
    assert.equal(
      diffOf(out),
      `+/- Job: "web"
-   Meta[owner]: "team-a"
+   Meta[team]:  "b"
+/- Priority:    "50" => "60"
    Task Group: "app" (2 ignore)
      Task: "server"
+   Task Group: "g" (1 create)
  + Task: "t" (forces create)`,
    );
  });

  test("lists failed placements, rolling updates, warnings and preemptions", async () => {
    const metric = {
      NodesEvaluated: 1,
      NodesExhausted: 1,
      DimensionExhausted: { cpu: 1 },
      CoalescedFailures: 2,
    } as never;
    const rolling = {
      TriggeredBy: "rolling-update",
      CreateTime: RECORDED_AT * 1e6,
      WaitUntil: new Date(RECORDED_AT + 10_000).toISOString(),
    } as never;
    const answer = answerOf(
      { before: web, after: web, counts: { app: { Place: 3 } } },
      { FailedTGAllocs: { app: metric }, CreatedEvals: [rolling], Warnings: "1 warning(s):\n\n* careful" },
    );
    const preempted = {
      ID: "ddef9521-0000-4000-8000-000000000000",
      JobID: "my-batch",
      Name: "my-batch.analytics[0]",
      Namespace: "default",
      NodeID: "n",
      TaskGroup: "analytics",
    };
    const annotations = { ...answer.Annotations!, PreemptedAllocs: [preempted] };
    const { out } = await planned({ ...answer, Annotations: annotations }, ["-diff=false"]);
    const tail = out.slice(out.indexOf("Scheduler dry-run:"));
    assert.equal(
      tail,
      `Scheduler dry-run:
- WARNING: Failed to place all allocations.
  Task Group "app" (failed to place 3 allocations):
    * Resources exhausted on 1 nodes
    * Dimension "cpu" exhausted on 1 nodes
- Rolling update, next evaluation will be in 10s.

Job Warnings:
1 warning(s):

* careful

Preemptions:

Alloc ID  Job ID    Task Group
ddef9521  my-batch  analytics

${VERIFICATION(49, file)}`,
    );
    const verbose = await planned({ ...answer, Annotations: annotations }, ["-verbose"]);
    assert.ok(verbose.out.includes(`\n${preempted.ID}  my-batch`));
  });

  test("says when a periodic job would be launched", async () => {
    const launch = new Date(RECORDED_AT + 607_000).toISOString();
    const answer = answerOf({ before: web, after: web, counts: {} }, { NextPeriodicLaunch: launch });
    const { out } = await planned(answer);
    assert.match(
      out,
      /\n- If submitted now, next periodic launch would be at 2026-11-23T14:59:59Z \(10m7s from now\)\.\n/,
    );
  });

  test("repeats the variables for the submission, quoted for the shell", async () => {
    const text = `variable "owner" {}\n${jobText("web").replace('"team-a"', "var.owner")}`;
    await writeFile(file, text);
    try {
      const answer = answerOf({ before: web, after: web, counts: {} });
      const { out } = await planned(answer, ["-var", "owner=it's me"]);
      assert.ok(out.includes(`\ndrover job run -check-index 49 '-var=owner=it'\\''s me' ${file}\n`), out);
    } finally {
      await writeFile(file, jobText("web"));
    }
  });

  test("has colours on a terminal only", async () => {
    const answer = answerOf({ before: count(3), after: web, counts: { app: { Canary: 1 } } });
    const start = "\u001b[";
    assert.ok(!(await planned(answer)).out.includes(start));
    assert.ok(!(await planned(answer, ["-no-color"], true)).out.includes(start));
    const { out } = await planned(answer, [], true);
    assert.ok(out.includes(`${start}1;33m+/-${start}0m `));
    assert.ok(out.includes(`(${start}1;31mforces destroy${start}0m)`));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours' own
    assert.equal(out.replace(/\u001b\[[\d;]*m/g, ""), (await planned(answer)).out);
  });
});

describe("job history", () => {
  const versions = (): Job[] => [
    { ...count(3), Version: 2, Stable: false, SubmitTime: RECORDED_AT * 1e6 },
    {
      ...changed((job) => (job.TaskGroups[0]!.Tasks[0]!.KillTimeout = 9e9)),
      Version: 1,
      Stable: true,
      SubmitTime: (RECORDED_AT - 60_000) * 1e6,
    },
    { ...web, Version: 0, Stable: true, SubmitTime: (RECORDED_AT - 120_000) * 1e6 },
  ];
  const listed = [{ ID: "web", Namespace: "default", Type: JobType.Service }] as JobListStub[];
  const start = (): Promise<FakeAgent> =>
    FakeAgent.start(({ path, query }) => {
      if (path === "/v1/jobs") return { body: listed };
      if (path !== "/v1/job/web/versions") return undefined;
      const Diffs = query.get("diffs") === "true" ? diffVersions(versions()) : null;
      return { body: { Diffs, Versions: versions(), Index: 1, KnownLeader: true, LastContact: 0 } };
    });

  test("lists versions, newest first", async () => {
    await using agent = await start();
    const { out, code } = await agent.run("job", "history", "web");
    assert.equal(code, 0);
    assert.equal(
      out,
      `Version     = 2
Stable      = false
Submit Date = 2026-11-23T14:49:52Z

Version     = 1
Stable      = true
Submit Date = 2026-11-23T14:48:52Z

Version     = 0
Stable      = true
Submit Date = 2026-11-23T14:47:52Z
`,
    );
  });

  test("with -p shows how each differs from the one before it", async () => {
    await using agent = await start();
    const { out } = await agent.run("job", "history", "-p", "web");
    assert.equal(
      out,
      `Version     = 2
Stable      = false
Submit Date = 2026-11-23T14:49:52Z
Diff        =
+/- Job: "web"
+/- Task Group: "app"
  +/- Count: "2" => "3"
  +/- Task: "server"
    +/- KillTimeout: "9000000000" => "5000000000"

Version     = 1
Stable      = true
Submit Date = 2026-11-23T14:48:52Z
Diff        =
+/- Job: "web"
+/- Task Group: "app"
  +/- Task: "server"
    +/- KillTimeout: "5000000000" => "9000000000"

Version     = 0
Stable      = true
Submit Date = 2026-11-23T14:47:52Z
`,
    );
  });

  test("shows one version, as JSON, or says which there are", async () => {
    await using agent = await start();
    const one = await agent.run("job", "history", "-p", "-version", "1", "web");
    assert.match(one.out, /^Version {5}= 1\n/);
    assert.match(one.out, /KillTimeout: "5000000000" => "9000000000"/);
    assert.equal(one.out.match(/^Version/gm)?.length, 1);
    const json = await agent.run("job", "history", "-json", "web");
    assert.equal((JSON.parse(json.out) as Job[]).length, 3);
    const single = await agent.run("job", "history", "-json", "-version=0", "web");
    assert.equal((JSON.parse(single.out) as Job).Version, 0);
    const full = await agent.run("job", "history", "-full", "-version=0", "web");
    assert.match(full.out, /Full {8}=\n\{/);
    const unknown = await agent.run("job", "history", "-version", "9", "web");
    assert.equal(unknown.code, 1);
    assert.match(unknown.err, /Job "web" has no version 9; kept are 2, 1, 0/);
    assert.equal((await agent.run("job", "history", "-json", "-p", "web")).code, 1);
  });
});
