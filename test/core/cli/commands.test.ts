/** What commands print and how they end, against an agent with recorded answers. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type {
  Allocation,
  AllocListStub,
  Deployment,
  Evaluation,
  Job,
  JobListStub,
  Node,
} from "@drover/plugin-sdk";
import { exchange } from "../../plugins/http-api/recordings.js";
import { FakeAgent, type Reply, runCommand } from "./run-command.js";

process.env.TZ = "UTC";

const NODE = "c1fe0aab-ae22-a84f-64cf-0a0a63ac126a";
const ALLOC = "1b2cb536-d176-7984-bab9-e6f02863b2c7";
const TOOBIG = "78989142-0000-4000-8000-000000000000";

const recordedJson = <T>(file: string, path: string, method = "GET", nth = 0) =>
  exchange(file, method, path, nth).json as T;
const json = (body: unknown, index = 1): Reply => ({ body, headers: { "X-Nomad-Index": String(index) } });
const text = (status: number, body: string): Reply => ({ status, body });

const jobs = () => recordedJson<JobListStub[]>("jobs.http", "/v1/jobs");
const web = () => recordedJson<Job>("jobs.http", "/v1/job/web");
const webStub = () => recordedJson<JobListStub[]>("jobs.http", "/v1/jobs?prefix=we");
const alloc = () => recordedJson<Allocation>("allocations.http", `/v1/allocation/${ALLOC}`);
const allocStub = () => recordedJson<AllocListStub[]>("allocations.http", "/v1/allocations?prefix=1b2cb536");
const evaluation = () => recordedJson<Evaluation[]>("evaluations.http", "/v1/evaluations?prefix=095a");

/** Allocations of the recorded `job status web`, as far as it shows them. */
function shownAllocations(): AllocListStub[] {
  const shown: [
    id: string,
    eval_: string,
    version: number,
    desired: string,
    status: string,
    created: string,
    modified: string,
  ][] = [
    [
      "bd7c04a7-4e54-49fa-c3db-68f8f799cf0a",
      "36a1b122-d5d9-fc16-0ddb-9247123a31cb",
      2,
      "stop",
      "complete",
      "49:20.5",
      "49:29.5",
    ],
    [
      "f631dae7-d045-f103-5d5d-db5fefb8987d",
      "095a1cbb-7765-2537-d134-12af8384707c",
      1,
      "run",
      "running",
      "49:04.4",
      "49:10.6",
    ],
    [
      "fad13a9f-b2a2-86e1-1e6c-7fa1f3989821",
      "5a70634f-6036-2d64-b64a-1de1f604a71a",
      1,
      "run",
      "running",
      "48:58.4",
      "48:59.5",
    ],
  ];
  const nano = (time: string) => Date.parse(`2026-11-23T14:${time}Z`) * 1e6;
  return shown.reverse().map(([ID, EvalID, JobVersion, DesiredStatus, ClientStatus, created, modified]) => ({
    ...allocStub()[0]!,
    ...({ ID, EvalID, JobVersion, DesiredStatus, ClientStatus } as AllocListStub),
    CreateTime: nano(created),
    ModifyTime: nano(modified),
  }));
}

function shownDeployment(): Deployment {
  const deployment = recordedJson<Deployment>("jobs.http", "/v1/job/web/deployment", "GET", 1);
  const app = {
    ...deployment.TaskGroups.app!,
    HealthyAllocs: 2,
    PlacedAllocs: 2,
    RequireProgressBy: "2026-11-23T14:50:21.5Z",
  };
  return { ...deployment, ID: "2b36078f-f65f-45c8-80a0-f6496aa6e829", TaskGroups: { app } };
}

function webReplies(): Record<string, Reply> {
  const counts = { Queued: 0, Starting: 0, Running: 2, Failed: 0, Complete: 1, Lost: 0 };
  return {
    "GET /v1/jobs": json(webStub()),
    "GET /v1/job/web": json({ ...web(), SubmitTime: Date.parse("2026-11-23T14:49:12.4Z") * 1e6 }),
    "GET /v1/job/web/summary": json({ JobID: "web", Children: null, Summary: { app: counts } }),
    "GET /v1/job/web/deployment": json(shownDeployment()),
    "GET /v1/job/web/allocations": json(shownAllocations()),
    "GET /v1/job/web/evaluations": json(
      [
        ["e54bfcbc-5ff4-6e8c-67da-bba3230b349d", "deployment-watcher", 77],
        ["36a1b122-d5d9-fc16-0ddb-9247123a31cb", "alloc-stop", 73],
        ["095a1cbb-7765-2537-d134-12af8384707c", "deployment-watcher", 39],
        ["5a70634f-6036-2d64-b64a-1de1f604a71a", "job-register", 29],
      ].map(([ID, TriggeredBy, CreateIndex]) => ({ ...evaluation()[0]!, ID, TriggeredBy, CreateIndex })),
    ),
  };
}

const STATUS_HEAD = `ID            = web
Name          = web
Submit Date   = 2026-11-23T14:49:12Z
Type          = service
Priority      = 50
Datacenters   = dc1
Namespace     = default
Status        = running
Periodic      = false
Parameterized = false

Summary
Task Group  Queued  Starting  Running  Failed  Complete  Lost
app         0       0         2        0       1         0
`;

const STATUS_DEPLOYMENT = (id: string) => `
Latest Deployment
ID          = ${id}
Status      = running
Description = Deployment is running but requires manual promotion

Deployed
Task Group  Auto Revert  Promoted  Desired  Canaries  Placed  Healthy  Unhealthy  Progress Deadline
app         true         false     2        1         2       2        0          2026-11-23T14:50:21Z
`;

test("status lists jobs as recorded", async () => {
  const shown = jobs().filter((job) => ["cron", "render", "web"].includes(job.ID));
  await using agent = await FakeAgent.start({ "GET /v1/jobs": json(shown) });
  const result = await agent.run("status");
  assert.equal(
    result.out,
    `ID      Type                 Priority  Status   Submit Date
cron    batch/periodic       50        running  2026-11-23T14:48:52Z
render  batch/parameterized  50        running  2026-11-23T14:48:52Z
web     service              50        running  2026-11-23T14:48:52Z
`,
  );
  assert.deepEqual(JSON.parse((await agent.run("job", "status", "-json")).out), shown);
});

test("no jobs are told as such", async () => {
  await using agent = await FakeAgent.start({ "GET /v1/jobs": json([]) });
  assert.equal((await agent.run("job", "status")).out, "No running jobs\n");
});

test("job status shows a job as recorded, in short and at length", async () => {
  await using agent = await FakeAgent.start(webReplies());
  const short = await agent.run("job", "status", "web");
  assert.equal(
    short.out,
    `${STATUS_HEAD}${STATUS_DEPLOYMENT("2b36078f")}
Allocations
ID        Node ID   Task Group  Version  Desired  Status    Created  Modified
bd7c04a7  c1fe0aab  app         2        stop     complete  32s ago  23s ago
f631dae7  c1fe0aab  app         1        run      running   49s ago  42s ago
fad13a9f  c1fe0aab  app         1        run      running   55s ago  53s ago
`,
  );
  const long = await agent.run("job", "status", "-verbose", "web");
  assert.equal(
    long.out,
    `${STATUS_HEAD}
Evaluations
ID                                    Priority  Triggered By        Status    Placement Failures
e54bfcbc-5ff4-6e8c-67da-bba3230b349d  50        deployment-watcher  complete  false
36a1b122-d5d9-fc16-0ddb-9247123a31cb  50        alloc-stop          complete  false
095a1cbb-7765-2537-d134-12af8384707c  50        deployment-watcher  complete  false
5a70634f-6036-2d64-b64a-1de1f604a71a  50        job-register        complete  false
${STATUS_DEPLOYMENT("2b36078f-f65f-45c8-80a0-f6496aa6e829")}
Allocations
ID                                    Eval ID                               Node ID                               Node Name  Task Group  Version  Desired  Status    Created               Modified
bd7c04a7-4e54-49fa-c3db-68f8f799cf0a  36a1b122-d5d9-fc16-0ddb-9247123a31cb  c1fe0aab-ae22-a84f-64cf-0a0a63ac126a  host-1     app         2        stop     complete  2026-11-23T14:49:20Z  2026-11-23T14:49:29Z
f631dae7-d045-f103-5d5d-db5fefb8987d  095a1cbb-7765-2537-d134-12af8384707c  c1fe0aab-ae22-a84f-64cf-0a0a63ac126a  host-1     app         1        run      running   2026-11-23T14:49:04Z  2026-11-23T14:49:10Z
fad13a9f-b2a2-86e1-1e6c-7fa1f3989821  5a70634f-6036-2d64-b64a-1de1f604a71a  c1fe0aab-ae22-a84f-64cf-0a0a63ac126a  host-1     app         1        run      running   2026-11-23T14:48:58Z  2026-11-23T14:48:59Z
`,
  );
});

test("periodic and parameterized jobs show what they launch", async () => {
  const base = {
    ...web(),
    SubmitTime: Date.parse("2026-11-23T14:48:52.4Z") * 1e6,
    Type: "batch",
    Status: "running",
  };
  const Periodic = {
    Enabled: true,
    ProhibitOverlap: true,
    Spec: "*/15 * * * * *",
    SpecType: "cron",
    TimeZone: "UTC",
  };
  const ParameterizedJob = { MetaOptional: ["quality"], MetaRequired: ["frame"], Payload: "optional" };
  const Children = { Dead: 0, Pending: 0, Running: 0 };
  const stub = (ID: string) => jobs().filter((job) => job.ID === ID);
  const replies = (ID: string, more: object): Record<string, Reply> => ({
    [`GET /v1/jobs?prefix=${ID}`]: json(stub(ID)),
    "GET /v1/jobs": json([]),
    [`GET /v1/job/${ID}`]: json({ ...base, ID, Name: ID, ...more }),
    [`GET /v1/job/${ID}/summary`]: json({ JobID: ID, Children, Summary: {} }),
  });
  await using agent = await FakeAgent.start({
    ...replies("cron", { Periodic }),
    ...replies("render", { ParameterizedJob }),
  });
  assert.equal(
    (await agent.run("job", "status", "cron")).out,
    `ID                   = cron
Name                 = cron
Submit Date          = 2026-11-23T14:48:52Z
Type                 = batch
Priority             = 50
Datacenters          = dc1
Namespace            = default
Status               = running
Periodic             = true
Parameterized        = false
Next Periodic Launch = 2026-11-23T15:00:00Z (10m7s from now)

Children Job Summary
Pending  Running  Dead
0        0        0

No instances of periodic job found
`,
  );
  assert.equal(
    (await agent.run("job", "status", "render")).out.split("\n\n").slice(1).join("\n\n"),
    `Parameterized Job
Payload           = optional
Required Metadata = frame
Optional Metadata = quality

Parameterized Job Summary
Pending  Running  Dead
0        0        0

No dispatched instances of parameterized job found
`,
  );
});

test("an unknown and an ambiguous id are told, with what it may mean", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/jobs?prefix=nope": json([]),
    "GET /v1/jobs?prefix=we": json([...webStub(), { ...webStub()[0], ID: "web2" }]),
    "GET /v1/allocations": json([]),
    "GET /v1/nodes": json([]),
  });
  assert.deepEqual(await agent.run("job", "status", "nope"), {
    code: 1,
    out: "",
    err: 'No job(s) with prefix or id "nope" found\n',
  });
  const ambiguous = await agent.run("job", "status", "we");
  assert.equal(ambiguous.code, 1);
  assert.match(
    ambiguous.err,
    /^Prefix matched multiple jobs\n\nID {4}Type .*\nweb {3}service.*\nweb2 {2}service/,
  );
  assert.equal(
    (await agent.run("alloc", "status", "abcd")).err,
    'No allocation(s) with prefix or id "abcd" found\n',
  );
  assert.equal(
    (await agent.run("node", "status", "a")).err,
    "Identifier must contain at least two characters.\n",
  );
});

test("status finds by search what an id names", async () => {
  const none = { jobs: null, allocs: null, evals: null, nodes: null, deployment: null };
  let matches: object = { ...none, evals: ["095a1cbb-7765-2537-d134-12af8384707c"] };
  await using agent = await FakeAgent.start(({ path }) => {
    if (path === "/v1/search") return json({ Matches: matches });
    if (path === "/v1/evaluations") return json(evaluation());
    return path.startsWith("/v1/evaluation/") ? json(evaluation()[0]) : undefined;
  });
  assert.match((await agent.run("status", "095a")).out, /^ID {17}= 095a1cbb\n/);
  matches = none;
  assert.deepEqual(await agent.run("status", "zzz"), {
    code: 1,
    out: "",
    err: 'Unable to resolve ID: "zzz"\n',
  });
  matches = { ...none, jobs: ["abc"], nodes: ["abcdef"] };
  assert.equal(
    (await agent.run("status", "ab")).err,
    'Multiple matches found for id "ab"\n\nJobs:\nabc\n\nNodes:\nabcdef\n',
  );
});

test("eval status has the recorded layout, and says why placement failed", async () => {
  const shown = {
    ...evaluation()[0]!,
    CreateTime: 1_795_445_344_000_000_000,
    ModifyTime: 1_795_445_344_000_000_000,
  };
  const failed = recordedJson<Evaluation[]>("jobs.http", "/v1/job/toobig/evaluations")[1]!;
  await using agent = await FakeAgent.start({
    "GET /v1/evaluations?prefix=095a1cbb": json([shown]),
    [`GET /v1/evaluation/${shown.ID}`]: json(shown),
    "GET /v1/evaluations": json([failed]),
    [`GET /v1/evaluation/${failed.ID}`]: json(failed),
  });
  assert.equal(
    (await agent.run("eval", "status", "095a1cbb")).out,
    `ID                 = 095a1cbb
Create Time        = 49s ago
Modify Time        = 49s ago
Status             = complete
Status Description = complete
Type               = service
TriggeredBy        = deployment-watcher
Job ID             = web
Priority           = 50
Placement Failures = false
`,
  );
  const text = (await agent.run("eval", "status", failed.ID)).out;
  assert.match(
    text,
    /Placement Failures = true\n\nFailed Placements\nTask Group "g" \(failed to place 2 allocations\):\n {2}\* Resources exhausted on 1 nodes\n {2}\* Dimension "cpu" exhausted on 1 nodes\n\nEvaluation "c3400762" waiting for additional capacity to place remainder\n$/,
  );
  assert.equal((await agent.run("eval", "status")).code, 1);
});

test("nodes are listed and shown as recorded", async () => {
  const node = recordedJson<Node>("nodes.http", `/v1/node/${NODE}`);
  const host = recordedJson("nodes.http", `/v1/client/stats?node_id=${NODE}`);
  const allocations = shownAllocations().map((stub) => ({
    ...alloc(),
    ...stub,
    Job: { ...web(), Version: stub.JobVersion },
  }));
  const idle = recordedJson<{ ResourceUsage: { CpuStats: { TotalTicks: number } } }>(
    "allocations.http",
    `/v1/client/allocation/${ALLOC}/stats`,
  );
  await using agent = await FakeAgent.start(({ path }) => {
    if (path === "/v1/nodes") return json(recordedJson("nodes.http", "/v1/nodes"));
    if (path === "/v1/agent/self") return json({ stats: { client: { node_id: NODE } } });
    if (path === `/v1/node/${NODE}`) return json(node);
    if (path.endsWith("/allocations")) return json(allocations);
    if (path === "/v1/client/stats") return json(host);
    return path.endsWith("/stats") ? json(idle) : undefined;
  });
  assert.equal(
    (await agent.run("node", "status")).out,
    `ID        DC   Name    Class   Drain  Eligibility  Status
c1fe0aab  dc1  host-1  <none>  false  eligible     ready
`,
  );
  assert.equal(
    (await agent.run("node", "status", "-self")).out,
    `ID              = c1fe0aab-ae22-a84f-64cf-0a0a63ac126a
Name            = host-1
Class           = <none>
DC              = dc1
Drain           = false
Eligibility     = eligible
Status          = ready
CSI Controllers = <none>
CSI Drivers     = <none>
Uptime          = 56m32s
Host Volumes    = <none>
CSI Volumes     = <none>
Driver Status   = exec,java,mock_driver,raw_exec

Node Events
Time                  Subsystem  Message
2026-11-23T14:48:44Z  Cluster    Node registered

Allocated Resources
CPU           Memory          Disk
200/5192 MHz  128 MiB/24 GiB  600 MiB/76 GiB

Allocation Resource Utilization
CPU         Memory
0/5192 MHz  57 MiB/24 GiB

Host Resource Utilization
CPU          Memory          Disk
73/5192 MHz  170 MiB/24 GiB  26 GiB/252 GiB

Allocations
ID        Node ID   Task Group  Version  Desired  Status    Created  Modified
bd7c04a7  c1fe0aab  app         2        stop     complete  32s ago  23s ago
f631dae7  c1fe0aab  app         1        run      running   49s ago  42s ago
fad13a9f  c1fe0aab  app         1        run      running   55s ago  53s ago
`,
  );
  const more = (await agent.run("node", "status", "-stats", "-verbose", "c1fe0")).out;
  for (const part of [
    "CPU Stats\nCPU    = cpu0",
    "Memory Stats\nTotal ",
    "Disk Stats\nDevice         = /dev/vda",
    "Drivers\nDriver ",
    "Attributes\n",
  ]) {
    assert.ok(more.includes(part), part);
  }
});

test("a node that can't be asked is shown without what only it knows", async () => {
  const node = recordedJson<Node>("nodes.http", `/v1/node/${NODE}`);
  await using agent = await FakeAgent.start({
    "GET /v1/nodes": json(recordedJson("nodes.http", "/v1/nodes")),
    [`GET /v1/node/${NODE}`]: json(node),
    [`GET /v1/node/${NODE}/allocations`]: json([]),
    "GET /v1/client/stats": text(404, "No path to node"),
  });
  const shown = await agent.run("node", "status", "c1fe0aab");
  assert.equal(shown.code, 0);
  assert.match(
    shown.out,
    /actual resource usage not shown: Unexpected response code: 404 \(No path to node\)/,
  );
});

test("a join token is printed alone, and asked for the time given", async () => {
  await using agent = await FakeAgent.start({
    "PUT /v1/operator/join-token": json({ JoinToken: "drover1.abc" }),
  });
  assert.deepEqual(await agent.run("node", "join-token", "-ttl=1h"), {
    code: 0,
    out: "drover1.abc\n",
    err: "",
  });
  assert.deepEqual(agent.asked[0]?.body, { TTL: "1h" });
});

test("server members are listed as recorded", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/agent/members": json(recordedJson("cluster.http", "/v1/agent/members")),
    "GET /v1/status/leader?region=global": json('"127.0.0.1:4647"'),
  });
  assert.equal(
    (await agent.run("server", "members")).out,
    `Name           Address    Port  Status  Leader  Protocol  Build  Datacenter  Region
host-1.global  127.0.0.1  4648  alive   true    2         1.1.0  dc1         global
`,
  );
});

test("server join says how many were joined, or why none was", async () => {
  await using agent = await FakeAgent.start({
    "PUT /v1/agent/join?address=10.0.0.2&address=%5B%3A%3A1%5D%3A4647": json({ error: "", num_joined: 2 }),
    "PUT /v1/agent/join?address=nowhere": json({ error: "nowhere could not be joined", num_joined: 0 }),
  });
  assert.deepEqual(await agent.run("server", "join", "10.0.0.2", "[::1]:4647"), {
    code: 0,
    out: "Joined 2 servers successfully\n",
    err: "",
  });
  const failed = await agent.run("server", "join", "nowhere");
  assert.deepEqual([failed.code, failed.err], [1, "Error joining: nowhere could not be joined\n"]);
  assert.notEqual((await agent.run("server", "join")).code, 0);
});

test("server force-leave says nothing when it is done, and why it is not", async () => {
  await using agent = await FakeAgent.start({
    "PUT /v1/agent/force-leave?node=server-3.global": text(200, ""),
    "PUT /v1/agent/force-leave?node=server-1.global": text(400, "server-1.global is alive"),
  });
  assert.deepEqual(await agent.run("server", "force-leave", "server-3.global"), {
    code: 0,
    out: "",
    err: "",
  });
  const failed = await agent.run("server", "force-leave", "server-1.global");
  assert.deepEqual(
    [failed.code, failed.err],
    [
      1,
      "Error force-leaving server server-1.global: Unexpected response code: 400 (server-1.global is alive)\n",
    ],
  );
});

test("alloc status shows an allocation, its addresses and the life of its tasks", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/allocations": json(allocStub()),
    [`GET /v1/allocation/${ALLOC}`]: json(alloc()),
    [`GET /v1/client/allocation/${ALLOC}/stats`]: json(
      recordedJson("allocations.http", `/v1/client/allocation/${ALLOC}/stats`),
    ),
  });
  const { out } = await agent.run("alloc", "status", "1b2cb");
  assert.equal(
    out.replaceAll(/\d+s ago/g, "Ns ago"),
    `ID                  = 1b2cb536-d176-7984-bab9-e6f02863b2c7
Eval ID             = 1a4dc6ef
Name                = web.app[0]
Node ID             = c1fe0aab
Node Name           = host-1
Job ID              = web
Job Version         = 2
Client Status       = running
Client Description  = Tasks are running
Desired Status      = run
Desired Description = <none>
Created             = Ns ago
Modified            = Ns ago
Deployment ID       = 2b36078f
Deployment Health   = healthy
Canary              = true

Allocation Addresses
Label  Dynamic  Address
*http  yes      127.0.0.1:29544

Task "server" is "running"
Task Resources
CPU        Memory         Disk     Addresses
0/100 MHz  28 MiB/64 MiB  300 MiB

Task Events:
Started At     = 2026-11-23T14:49:12Z
Finished At    = N/A
Total Restarts = 0
Last Restart   = N/A

Recent Events:
Time                  Type        Description
2026-11-23T14:49:12Z  Started     Task started by client
2026-11-23T14:49:12Z  Task Setup  Building Task Directory
2026-11-23T14:49:12Z  Received    Task received by client
`,
  );
  const verbose = (await agent.run("alloc", "status", "-verbose", ALLOC)).out;
  assert.match(verbose, /Placement Metrics\nNode +allocation-spread +binpack .*final score\nc1fe0aab-/);
});

test("alloc logs prints, follows and cuts a task's output", async () => {
  const framed = exchange(
    "allocations.http",
    "GET",
    `/v1/client/fs/logs/${ALLOC}?task=server&type=stdout`,
  ).body;
  await using agent = await FakeAgent.start(({ path, query }) => {
    if (path === "/v1/allocations" || path === "/v1/job/web/allocations") return json(allocStub());
    if (path === "/v1/jobs") return json(webStub());
    if (path === `/v1/allocation/${ALLOC}`) return json(alloc());
    if (!path.startsWith("/v1/client/fs/logs/")) return undefined;
    if (query.get("task") !== "server") return text(400, `unknown task name "${query.get("task")}"`);
    return { body: query.get("plain") === "true" ? `${query.get("type")} of it\n` : framed };
  });
  assert.equal((await agent.run("alloc", "logs", "1b2c")).out, "stdout of it\n");
  assert.equal((await agent.run("alloc", "logs", "-stderr", "-job", "web")).out, "stderr of it\n");
  assert.equal(
    (await agent.run("alloc", "logs", "-tail", "-n", "1", "1b2c")).out,
    "NOMAD_META_OWNER=team-a\n",
  );
  const whole = (await agent.run("alloc", "logs", "-f", "1b2c", "server")).out;
  assert.match(whole, /^hello from 1b2cb536/);
  assert.deepEqual(await agent.run("alloc", "logs", "1b2c", "nope"), {
    code: 1,
    out: "",
    err: 'Error reading logs: Unexpected response code: 400 (unknown task name "nope")\n',
  });
});

test("alloc logs asks which task is meant", async () => {
  const two = alloc();
  two.AllocatedResources.Tasks = {
    b: two.AllocatedResources.Tasks.server!,
    a: two.AllocatedResources.Tasks.server!,
  };
  await using agent = await FakeAgent.start({
    "GET /v1/allocations": json(allocStub()),
    [`GET /v1/allocation/${ALLOC}`]: json(two),
  });
  assert.equal(
    (await agent.run("alloc", "logs", "1b2c")).err,
    'Allocation "1b2cb536" is running the following tasks:\n  * a\n  * b\n\nPlease specify the task.\n',
  );
});

test("alloc fs lists folders and prints files", async () => {
  const list = recordedJson("allocations.http", `/v1/client/fs/ls/${ALLOC}?path=/server`);
  const file = recordedJson("allocations.http", `/v1/client/fs/stat/${ALLOC}?path=/server/local/info.txt`);
  await using agent = await FakeAgent.start(({ path, query }) => {
    if (path === "/v1/allocations") return json(allocStub());
    if (path.includes("/fs/ls/")) return json(list);
    if (path.includes("/fs/stat/")) return json(query.get("path") === "/server" ? { IsDir: true } : file);
    return path.includes("/fs/cat/") ? { body: "alloc 1b2cb536" } : undefined;
  });
  assert.equal(
    (await agent.run("alloc", "fs", "1b2c", "/server")).out,
    `Mode         Size     Modified Time         Name
-rw-r--r--   141 B    2026-11-23T14:49:12Z  executor.out
drwxrwxrwx   4.0 KiB  2026-11-23T14:49:12Z  local/
drwxrwxrwx   60 B     2026-11-23T14:49:12Z  secrets/
dtrwxrwxrwx  4.0 KiB  2026-11-23T14:49:12Z  tmp/
`,
  );
  assert.equal((await agent.run("alloc", "fs", "1b2c", "server/local/info.txt")).out, "alloc 1b2cb536");
  assert.match(
    (await agent.run("alloc", "fs", "-stat", "1b2c", "x")).out,
    /text\/plain; charset=utf-8 {2}info\.txt\n$/,
  );
});

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-cli-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function jobFile(hcl: string): Promise<string> {
  const path = join(folder, "job.hcl");
  await writeFile(path, hcl);
  return path;
}

const JOB = `
variable "count" {
  type    = number
  default = 1
}
job "toobig" {
  datacenters = ["dc1"]
  group "g" {
    count = var.count
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/true"
      }
    }
  }
}
`;

const REGISTERED = { EvalCreateIndex: 5, EvalID: TOOBIG, Index: 5, JobModifyIndex: 5, Warnings: "" };

/** An evaluation that is pending at first and then as given. */
function decided(evaluation: Evaluation): (index: string | null) => Reply {
  const pending = { ...evaluation, Status: "pending", DeploymentID: undefined, FailedTGAllocs: undefined };
  return (index) => (index === "0" ? json(pending, 5) : json(evaluation, 6));
}

test("job run follows its evaluation as recorded and ends with 2 when not all is placed", async () => {
  const complete: Evaluation = {
    ...recordedJson<Evaluation[]>("jobs.http", "/v1/job/toobig/evaluations")[1]!,
    ID: TOOBIG,
    DeploymentID: "f4583fc9-0000-4000-8000-000000000000",
    BlockedEval: "71ff18ad-0000-4000-8000-000000000000",
  };
  const reply = decided(complete);
  await using agent = await FakeAgent.start(({ method, path, query }) => {
    if (method === "PUT" && path === "/v1/jobs") return json(REGISTERED);
    if (path === `/v1/evaluation/${TOOBIG}`) return reply(query.get("index"));
    return path === `/v1/evaluation/${TOOBIG}/allocations` ? json([]) : undefined;
  });
  const result = await agent.run("job", "run", "-var", "count=3", await jobFile(JOB));
  assert.equal(
    result.out,
    `==> Monitoring evaluation "78989142"
    Evaluation triggered by job "toobig"
    Evaluation within deployment: "f4583fc9"
    Evaluation status changed: "pending" -> "complete"
==> Evaluation "78989142" finished with status "complete" but failed to place all allocations:
    Task Group "g" (failed to place 2 allocations):
      * Resources exhausted on 1 nodes
      * Dimension "cpu" exhausted on 1 nodes
    Evaluation "71ff18ad" waiting for additional capacity to place remainder
`,
  );
  assert.equal(result.code, 2);
  const sent = agent.asked[0]?.body as { Job: Job };
  assert.equal(sent.Job.TaskGroups[0]?.Count, 3);
  assert.equal(sent.Job.Priority, 50);
});

test("on a terminal job run goes on until its allocations run", async () => {
  const complete = { ...evaluation()[0]!, ID: TOOBIG, JobID: "web", DeploymentID: "" };
  let status = "pending";
  await using agent = await FakeAgent.start(({ method, path, query }) => {
    if (method === "PUT") return json({ ...REGISTERED, Warnings: "1 warning:\n\n* beware" });
    if (path === `/v1/evaluation/${TOOBIG}`) return json(complete, 6);
    if (!path.endsWith("/allocations")) return undefined;
    if (Number(query.get("index") ?? 0) > 0) status = "running";
    return json([{ ...allocStub()[0], ClientStatus: status }], 7);
  });
  const result = await runCommand(
    ["run", await jobFile(JOB)],
    { DROVER_ADDR: agent.address },
    { interactive: true },
  );
  assert.equal(result.code, 0);
  assert.equal(
    result.out,
    `Job Warnings:
1 warning:

* beware

==> Monitoring evaluation "78989142"
    Evaluation triggered by job "web"
    Allocation "1b2cb536" created: node "c1fe0aab", group "app"
    Evaluation status changed: "pending" -> "complete"
==> Evaluation "78989142" finished with status "complete"
    Allocation "1b2cb536" status changed: "pending" -> "running" (Tasks are running)
`,
  );
});

test("job run can detach, print what it would send, and be refused", async () => {
  let reply: Reply = json(REGISTERED);
  await using agent = await FakeAgent.start(() => reply);
  const file = await jobFile(JOB);
  assert.equal(
    (await agent.run("job", "run", "-detach", file)).out,
    `Job registration successful\nEvaluation ID: ${TOOBIG}\n`,
  );
  const output = await agent.run("job", "run", "-output", file);
  assert.equal((JSON.parse(output.out) as { Job: Job }).Job.ID, "toobig");
  assert.equal(agent.asked.length, 1);
  const conflict = exchange("jobs.http", "PUT", "/v1/jobs");
  reply = text(500, conflict.body);
  const refused = await agent.run("job", "run", "-check-index", "1", file);
  assert.deepEqual(refused, { code: 1, out: "", err: `${conflict.body.trim()}\nJob not updated\n` });
  assert.deepEqual(
    { ...(agent.asked[1]?.body as object), Job: undefined },
    { Job: undefined, PreserveCounts: false, EnforceIndex: true, JobModifyIndex: 1 },
  );
  reply = text(500, "No cluster leader");
  assert.equal(
    (await agent.run("job", "run", file)).err,
    "Error submitting job: Unexpected response code: 500 (No cluster leader)\n",
  );
});

test("mistakes in a job file are shown with their place and nothing is sent", async () => {
  await using agent = await FakeAgent.start({});
  const result = await agent.run("job", "run", await jobFile('job "x" {'));
  assert.equal(result.code, 1);
  assert.match(
    result.err,
    /^Error getting job struct: Error parsing job file from .*job\.hcl:\n.*job\.hcl:1,10/,
  );
  assert.equal((await agent.run("job", "run", join(folder, "missing.hcl"))).code, 1);
  assert.equal(
    (await agent.run("job", "run", "-var", "nonsense", await jobFile(JOB))).err,
    '-var "nonsense" must be NAME=VALUE\n',
  );
  assert.equal(agent.asked.length, 0);
});

test("job validate reports what the agent finds, or checks here", async () => {
  const bad = recordedJson<{ Error: string }>("jobs.http", "/v1/validate/job", "POST", 1);
  let reply = json(recordedJson("jobs.http", "/v1/validate/job", "POST", 0));
  await using agent = await FakeAgent.start(() => reply);
  const file = await jobFile(JOB);
  assert.deepEqual(await agent.run("validate", file), {
    code: 0,
    out: "Job validation successful\n",
    err: "",
  });
  reply = json(bad);
  assert.deepEqual(await agent.run("job", "validate", file), {
    code: 1,
    out: "",
    err: `Job validation errors:\n${bad.Error}\n`,
  });
  const alone = await runCommand(["job", "validate", file], { NOMAD_ADDR: "http://127.0.0.1:1" });
  assert.equal(alone.code, 0);
  assert.match(alone.out, /^Driver configuration not validated.*\n\nJob validation successful\n$/);
});

test("job stop follows the evaluation and wants whole ids", async () => {
  const complete = {
    ...evaluation()[0]!,
    ID: "c65bcfde-0000-4000-8000-000000000000",
    DeploymentID: "2b36078f",
  };
  const reply = decided(complete);
  await using agent = await FakeAgent.start(({ method, path, query }) => {
    if (path === "/v1/jobs") return json(webStub());
    if (method === "DELETE") return json({ EvalID: complete.ID, Index: 5 });
    if (path === `/v1/evaluation/${complete.ID}`) return reply(query.get("index"));
    return path.endsWith("/allocations") ? json([]) : undefined;
  });
  const result = await agent.run("job", "stop", "-purge", "web");
  assert.equal(
    result.out,
    `==> Monitoring evaluation "c65bcfde"
    Evaluation triggered by job "web"
    Evaluation within deployment: "2b36078f"
    Evaluation status changed: "pending" -> "complete"
==> Evaluation "c65bcfde" finished with status "complete"
`,
  );
  assert.equal(result.code, 0);
  assert.equal(agent.asked.find(({ method }) => method === "DELETE")?.query.get("purge"), "true");
  assert.match((await agent.run("stop", "we")).err, /"we" is only the beginning of job "web"/);
  assert.equal((await agent.run("stop", "-detach", "-yes", "we")).out, `${complete.ID}\n`);
});

test("job inspect prints the job with keys in order", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/jobs": json(webStub()),
    "GET /v1/job/web": json(web()),
  });
  const { out } = await agent.run("job", "inspect", "web");
  assert.match(out, /^\{\n {4}"Job": \{\n {8}"Affinities": null,\n {8}"AllAtOnce": false,/);
  assert.deepEqual(JSON.parse(out), { Job: { ...web(), Migrate: null, Reschedule: null } });
});

test("flags win over DROVER_ variables, and those over NOMAD_ ones", async () => {
  await using agent = await FakeAgent.start({ "GET /v1/jobs": json([]) });
  const env = {
    NOMAD_ADDR: "http://127.0.0.1:1",
    DROVER_ADDR: agent.address,
    NOMAD_NAMESPACE: "a",
    DROVER_NAMESPACE: "b",
    NOMAD_TOKEN: "secret",
    NOMAD_REGION: "global",
  };
  await runCommand(["job", "status"], env);
  await runCommand(["job", "status", "-namespace", "c", "-token=other"], env);
  const [first, second] = agent.asked;
  assert.equal(first?.query.toString(), "region=global&namespace=b");
  assert.equal(first?.headers["x-nomad-token"], "secret");
  assert.equal(second?.query.get("namespace"), "c");
  assert.equal(second?.headers["x-nomad-token"], "other");
});

test("an agent that can't be reached is named, with what to do", async () => {
  const result = await runCommand(["status"], { NOMAD_ADDR: "http://127.0.0.1:1" });
  assert.equal(result.code, 1);
  assert.match(
    result.err,
    /^Error querying jobs: can't reach the agent at http:\/\/127\.0\.0\.1:1: .+\nIs it running\? .*-address or NOMAD_ADDR/,
  );
  const wrong = await runCommand(["status", "-address", "ftp://x"], {});
  assert.match(wrong.err, /"ftp:\/\/x" is not an address of an agent/);
});

test("every command explains itself with an example", async () => {
  for (const command of [
    "status",
    "run",
    "stop",
    "inspect",
    "validate",
    "plan",
    "job run",
    "job plan",
    "job history",
    "job status",
    "alloc status",
    "alloc logs",
    "alloc fs",
    "eval status",
    "node status",
    "node eligibility",
    "node join-token",
    "server members",
    "server join",
    "server force-leave",
    "system gc",
    "operator scheduler get-config",
    "operator scheduler set-config",
  ]) {
    const help = await runCommand([...command.split(" "), "-help"], {});
    assert.equal(help.code, 0, command);
    assert.match(help.out, /Examples:\n {2}.*drover/, command);
    assert.match(help.out, /--address <url>/, command);
  }
});

const schedulerConfig = {
  CreateIndex: 5,
  MemoryOversubscriptionEnabled: false,
  ModifyIndex: 7,
  PauseEvalBroker: false,
  PreemptionConfig: {
    BatchSchedulerEnabled: false,
    ServiceSchedulerEnabled: false,
    SysBatchSchedulerEnabled: false,
    SystemSchedulerEnabled: true,
  },
  RejectJobRegistration: false,
  SchedulerAlgorithm: "binpack",
};
const SCHEDULER = "/v1/operator/scheduler/configuration";

test("operator scheduler get-config shows every setting, or the API's answer", async () => {
  await using agent = await FakeAgent.start({
    [`GET ${SCHEDULER}`]: json({ SchedulerConfig: schedulerConfig }),
  });
  const { out } = await agent.run("operator", "scheduler", "get-config");
  assert.equal(
    out,
    [
      "Scheduler Algorithm           = binpack",
      "Memory Oversubscription       = false",
      "Reject Job Registration       = false",
      "Pause Eval Broker             = false",
      "Preemption System Scheduler   = true",
      "Preemption Service Scheduler  = false",
      "Preemption Batch Scheduler    = false",
      "Preemption SysBatch Scheduler = false",
      "Modify Index                  = 7",
      "",
    ].join("\n"),
  );
  const asJson = await agent.run("operator", "scheduler", "get-config", "-json");
  assert.deepEqual(JSON.parse(asJson.out), { SchedulerConfig: schedulerConfig });
});

test("operator scheduler set-config changes what is given and keeps the rest, at the index it read", async () => {
  await using agent = await FakeAgent.start({
    [`GET ${SCHEDULER}`]: json({ SchedulerConfig: schedulerConfig }),
    [`PUT ${SCHEDULER}`]: json({ Updated: true, Index: 9 }),
  });
  const { out } = await agent.run(
    ...["operator", "scheduler", "set-config", "-scheduler-algorithm=spread"],
    ...["-preempt-system-scheduler=false", "-pause-eval-broker"],
  );
  assert.equal(out, "Scheduler configuration updated!\n");
  const put = agent.asked.find(({ method }) => method === "PUT");
  assert.equal(put?.query.get("cas"), "7");
  assert.deepEqual(put?.body, {
    ...schedulerConfig,
    SchedulerAlgorithm: "spread",
    PauseEvalBroker: true,
    PreemptionConfig: { ...schedulerConfig.PreemptionConfig, SystemSchedulerEnabled: false },
  });
});

test("operator scheduler set-config fails when the configuration is at another index, and for what is no setting", async () => {
  await using agent = await FakeAgent.start({
    [`GET ${SCHEDULER}`]: json({ SchedulerConfig: schedulerConfig }),
    [`PUT ${SCHEDULER}`]: json({ Updated: false, Index: 9 }),
  });
  const { code, err } = await agent.run(
    ...["operator", "scheduler", "set-config", "-check-index", "3", "-memory-oversubscription"],
  );
  assert.equal(code, 1);
  assert.match(err, /not at index 3 any more/);
  const wrong = await agent.run("operator", "scheduler", "set-config", "-pause-eval-broker=maybe");
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /must be true or false/);
});

test("version names the program and its version", async () => {
  assert.match((await runCommand(["version"], {})).out, /^Drover v\d+\.\d+\.\d+\n$/);
});
