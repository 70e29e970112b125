/** Every recorded exchange of what the API serves, answered from the recorded objects and compared. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Allocation,
  type Deployment,
  EndpointError,
  type Evaluation,
  type FileFrame,
  type Job,
  type JobPlanResponse,
  type JobSummary,
  type Node,
  RemoteError,
  StateTable,
} from "@drover/plugin-sdk";
import { diffVersions } from "../../../core/jobspec/index.js";
import { FakeState } from "./fake-state.js";
import { type Api, type ApiOptions, startApi } from "./harness.js";
import { type Exchange, exchange } from "./recordings.js";

const ALLOC = "1b2cb536-d176-7984-bab9-e6f02863b2c7";
const NODE = "c1fe0aab-ae22-a84f-64cf-0a0a63ac126a";
const EVAL = "095a1cbb-7765-2537-d134-12af8384707c";
const DEPLOYMENT = "2c473644-bc8e-88e7-f68a-fa8dcc0a2580";

const recordedAlloc = () => exchange("allocations.http", "GET", `/v1/allocation/${ALLOC}`).json as Allocation;

/** The row behind a recorded whole allocation: without the joined job and the legacy resources. */
function allocationRow(): Allocation {
  const { Job, Resources, SharedResources, TaskResources, ...row } = recordedAlloc();
  return { ...row, Job: null, JobVersion: Job!.Version, DesiredDescription: "", RescheduleTracker: null };
}

/** A store as it was when the recordings were made, as far as the recordings show it. */
function recordedState(): FakeState {
  const state = new FakeState();
  const web = exchange("jobs.http", "GET", "/v1/job/web").json as Job;
  state.jobs.push(web);
  for (const id of ["web", "toobig"]) {
    state.summaries.push(exchange("jobs.http", "GET", `/v1/job/${id}/summary`).json as JobSummary);
    state.evaluations.push(
      ...(exchange("jobs.http", "GET", `/v1/job/${id}/evaluations`).json as Evaluation[]),
    );
  }
  state.evaluations.push(exchange("evaluations.http", "GET", `/v1/evaluation/${EVAL}`).json as Evaluation);
  state.nodes.push({
    ...(exchange("nodes.http", "GET", `/v1/node/${NODE}`).json as Node),
    SecretID: "a-secret",
  });
  state.deployments.push(
    exchange("deployments.http", "GET", `/v1/deployment/${DEPLOYMENT}`).json as Deployment,
  );
  state.allocations.push(allocationRow());
  state.allocationJobs.set(ALLOC, recordedAlloc().Job!);
  return state;
}

/** Sets the index of every table to that of the recording, so that the header can be compared. */
function atIndexOf(state: FakeState, recording: Exchange): void {
  const index = Number(recording.headers["x-nomad-index"] ?? 0);
  for (const table of Object.values(StateTable)) state.tables.set(table, index);
}

async function answer(api: Api, recording: Exchange): Promise<Response> {
  const body = recording.requestBody === "" ? undefined : recording.requestBody;
  const cut = body?.includes("…cut") === true ? JSON.stringify({ Job: { ID: idIn(body) } }) : body;
  return fetch(api.url + recording.path, { method: recording.method, body: cut });
}

function idIn(body: string): string {
  return /"ID": "([^"]+)"/.exec(body)![1]!;
}

async function compare(api: Api, recording: Exchange): Promise<void> {
  const response = await answer(api, recording);
  const text = await response.text();
  const what = `${recording.method} ${recording.path}`;
  assert.equal(response.status, recording.status, `${what}: ${text}`);
  if (recording.json === undefined) assert.equal(text.trim(), recording.body.trim(), what);
  else assert.deepEqual(JSON.parse(text), recording.json, what);
  for (const [name, value] of Object.entries(recording.headers))
    assert.equal(response.headers.get(name), value, `${what}: ${name}`);
}

async function compareAll(recordings: readonly Exchange[], options: ApiOptions = {}): Promise<void> {
  const state = options.state ?? recordedState();
  await using api = await startApi({ ...options, state });
  for (const recording of recordings) {
    atIndexOf(state, recording);
    await compare(api, recording);
  }
  assert.equal(state.openSnapshots, 0, "every snapshot is closed");
}

const get = (file: string, path: string, nth = 0) => exchange(file, "GET", path, nth);

test("single objects are answered exactly as recorded, their own index in the header", () =>
  compareAll(
    [
      get("jobs.http", "/v1/job/web"),
      get("jobs.http", "/v1/job/web/summary"),
      get("jobs.http", "/v1/job/toobig/summary"),
      get("jobs.http", "/v1/job/web/versions?diffs=true"),
      get("allocations.http", `/v1/allocation/${ALLOC}`),
      get("evaluations.http", `/v1/evaluation/${EVAL}`),
      get("nodes.http", `/v1/node/${NODE}`),
      get("deployments.http", `/v1/deployment/${DEPLOYMENT}`),
    ],
    { endpoints: { jobs: { diffVersions } } },
  ));

test("lists are answered exactly as recorded, their table's index in the header", () =>
  compareAll([
    get("jobs.http", "/v1/jobs?prefix=we"),
    get("jobs.http", "/v1/job/toobig/evaluations"),
    get("evaluations.http", "/v1/evaluations?prefix=095a"),
    get("nodes.http", "/v1/nodes"),
    get("nodes.http", "/v1/nodes?resources=true"),
    get("cluster.http", "/v1/jobs?namespace=nope"),
    get("allocations.http", "/v1/allocations?prefix=1b2cb536"),
  ]));

test("lists made of allocations have the recorded stubs", async () => {
  const lists: [file: string, path: string][] = [
    ["jobs.http", "/v1/job/web/allocations"],
    ["evaluations.http", `/v1/evaluation/${EVAL}/allocations`],
    ["deployments.http", `/v1/deployment/allocations/${DEPLOYMENT}`],
  ];
  for (const [file, path] of lists) {
    const recording = get(file, path);
    const stubs = recording.json as (Allocation & { JobType: string })[];
    const state = recordedState();
    state.allocations.length = 0;
    for (const { JobType: _, ...stub } of stubs) {
      state.allocations.push({ ...allocationRow(), ...stub, DeploymentID: DEPLOYMENT });
    }
    await compareAll([recording], { state });
  }
});

test("a job's deployments are answered as recorded", async () => {
  const recording = get("jobs.http", "/v1/job/web/deployments");
  const state = recordedState();
  state.deployments.splice(0, 1, ...(recording.json as Deployment[]));
  await compareAll([recording, get("jobs.http", "/v1/job/web/deployment")], { state });
  await compareAll([get("jobs.http", "/v1/job/nope/deployment")], { state });
});

test("what does not exist and what is no id is refused in the recorded words", () =>
  compareAll([
    get("jobs.http", "/v1/job/nope"),
    get("allocations.http", "/v1/allocation/1b2cb536"),
    get("allocations.http", "/v1/allocation/zzz"),
    get("allocations.http", "/v1/allocation/11111111-2222-3333-4444-555555555555"),
    get("evaluations.http", "/v1/evaluation/zzz"),
    get("nodes.http", "/v1/node/zzz"),
    get("deployments.http", "/v1/deployment/xyz"),
    get("deployments.http", "/v1/deployment/11111111-2222-3333-4444-555555555555"),
    get("cluster.http", "/v1/jobs?region=mars"),
    get("cluster.http", "/v1/acl/tokens"),
    get("cluster.http", "/v1/acl/token/self"),
    get("cluster.http", "/v1/nope"),
    exchange("cluster.http", "PATCH", "/v1/jobs"),
  ]));

test("the cluster's own paths are answered as recorded", async () => {
  const members = get("cluster.http", "/v1/agent/members").json as { Members: never[] };
  const state = recordedState();
  state.schedulerConfig = (
    get("cluster.http", "/v1/operator/scheduler/configuration").json as { SchedulerConfig: never }
  ).SchedulerConfig;
  await compareAll(
    [
      get("cluster.http", "/v1/status/leader"),
      get("cluster.http", "/v1/status/peers"),
      get("cluster.http", "/v1/agent/members"),
      get("cluster.http", "/v1/agent/servers"),
      get("cluster.http", "/v1/agent/health"),
      get("cluster.http", "/v1/agent/health?type=server"),
      get("cluster.http", "/v1/regions"),
      get("cluster.http", "/v1/operator/raft/configuration"),
      get("cluster.http", "/v1/operator/autopilot/configuration"),
      exchange("cluster.http", "DELETE", "/v1/operator/raft/peer?id=x"),
      get("cluster.http", "/v1/operator/scheduler/configuration"),
      get("cluster.http", "/v1/namespaces"),
      get("cluster.http", "/v1/namespace/default"),
      exchange("cluster.http", "POST", "/v1/search", 1),
      exchange("cluster.http", "POST", "/v1/search", 2),
    ],
    {
      state,
      endpoints: {
        status: { members: () => members.Members },
        operator: {
          raftConfiguration: () => get("cluster.http", "/v1/operator/raft/configuration").json as never,
          autopilotConfiguration: () =>
            get("cluster.http", "/v1/operator/autopilot/configuration").json as never,
          removeRaftPeer: async ({ id }) => {
            throw new EndpointError(500, `id "${id}" was not found in the Raft configuration`);
          },
        },
      },
      client: { nodeId: NODE, health: () => ({ ok: true, message: "ok" }), stats: () => ({}) },
    },
  );
});

test("a search in one context has the recorded answer", async () => {
  await compareAll([exchange("cluster.http", "POST", "/v1/search", 0)]);
});

test("writes carry their index in the header and answer as the endpoint does", async () => {
  const answerOf = (file: string, method: string, path: string, nth = 0) =>
    exchange(file, method, path, nth).json as never;
  const writes = [
    exchange("jobs.http", "POST", "/v1/jobs"),
    exchange("jobs.http", "POST", "/v1/job/web/evaluate"),
    exchange("jobs.http", "POST", "/v1/job/web/plan", 1),
    exchange("jobs.http", "POST", "/v1/job/toobig/plan"),
    exchange("jobs.http", "DELETE", "/v1/job/nope"),
    exchange("nodes.http", "POST", `/v1/node/${NODE}/eligibility`),
    exchange("nodes.http", "POST", `/v1/node/${NODE}/evaluate`),
    exchange("nodes.http", "POST", `/v1/node/${NODE}/drain`),
    exchange("nodes.http", "POST", `/v1/node/${NODE}/drain`, 1),
    exchange("deployments.http", "POST", `/v1/deployment/pause/${DEPLOYMENT}`),
    exchange("deployments.http", "POST", `/v1/deployment/pause/${DEPLOYMENT}`, 1),
    exchange("deployments.http", "POST", `/v1/deployment/promote/${DEPLOYMENT}`),
    exchange("jobs.http", "POST", "/v1/job/web/stable"),
    exchange("jobs.http", "POST", "/v1/job/web/revert"),
    exchange("allocations.http", "POST", `/v1/allocation/${ALLOC}/stop`),
    exchange("cluster.http", "PUT", "/v1/operator/scheduler/configuration"),
    exchange("cluster.http", "PUT", "/v1/system/gc"),
    exchange("jobs.http", "POST", "/v1/validate/job"),
    exchange("jobs.http", "POST", "/v1/jobs/parse"),
  ];
  const members = get("cluster.http", "/v1/agent/members").json as { Members: never[] };
  await compareAll(writes, {
    endpoints: {
      jobs: {
        register: async () => answerOf("jobs.http", "POST", "/v1/jobs"),
        stable: async ({ version, stable }) => {
          assert.deepEqual([version, stable], [1, true]);
          return answerOf("jobs.http", "POST", "/v1/job/web/stable");
        },
        revert: async ({ version, enforcePriorVersion }) => {
          assert.deepEqual([version, enforcePriorVersion], [0, null]);
          return answerOf("jobs.http", "POST", "/v1/job/web/revert");
        },
        evaluate: async () => answerOf("jobs.http", "POST", "/v1/job/web/evaluate"),
        plan: async ({ job }) => {
          const { ID } = job as Job;
          const answer = answerOf("jobs.http", "POST", `/v1/job/${ID}/plan`, ID === "web" ? 1 : 0);
          const { CreatedEvals } = answer as JobPlanResponse;
          // In the core every evaluation has its indexes, also one that was never written.
          const indexes = { CreateIndex: 0, ModifyIndex: 0, SnapshotIndex: 77 };
          return {
            ...(answer as JobPlanResponse),
            CreatedEvals: CreatedEvals?.map((each) => ({ ...each, ...indexes })) ?? null,
          };
        },
        deregister: async () => answerOf("jobs.http", "DELETE", "/v1/job/nope"),
        validate: async () => answerOf("jobs.http", "POST", "/v1/validate/job"),
        parse: async () => answerOf("jobs.http", "POST", "/v1/jobs/parse"),
      },
      deployments: {
        pause: async (id, paused) => {
          assert.equal(id, DEPLOYMENT);
          return answerOf("deployments.http", "POST", `/v1/deployment/pause/${DEPLOYMENT}`, paused ? 0 : 1);
        },
        promote: async ({ all }) => {
          assert.equal(all, true);
          return answerOf("deployments.http", "POST", `/v1/deployment/promote/${DEPLOYMENT}`);
        },
      },
      nodes: {
        setDrain: async ({ spec, markEligible }) => {
          if (spec !== null) assert.deepEqual(spec, { Deadline: 3600e9, IgnoreSystemJobs: false });
          else assert.equal(markEligible, true);
          return answerOf("nodes.http", "POST", `/v1/node/${NODE}/drain`, spec === null ? 1 : 0);
        },
        setEligibility: async () => answerOf("nodes.http", "POST", `/v1/node/${NODE}/eligibility`),
        evaluate: async () => {
          const { EvalCreateIndex, EvalIDs, Index, NodeModifyIndex, NumNodes } = answerOf(
            "nodes.http",
            "POST",
            `/v1/node/${NODE}/evaluate`,
          ) as Record<string, never>;
          return { EvalCreateIndex, EvalIDs, Index, NodeModifyIndex, NumNodes } as never;
        },
      },
      allocations: { stop: async () => answerOf("allocations.http", "POST", `/v1/allocation/${ALLOC}/stop`) },
      operator: {
        setSchedulerConfiguration: async () =>
          answerOf("cluster.http", "PUT", "/v1/operator/scheduler/configuration"),
        collectGarbage: async () => undefined,
      },
      status: { members: () => members.Members },
    },
  });
});

test("refused writes have the recorded codes and texts", async () => {
  const refuse = (recording: Exchange) => async () => {
    throw new EndpointError(recording.status, recording.body);
  };
  const invalid = exchange("jobs.http", "POST", "/v1/jobs", 1);
  const eligibility = exchange("nodes.http", "POST", `/v1/node/${NODE}/eligibility`, 2);
  const algorithm = exchange("cluster.http", "PUT", "/v1/operator/scheduler/configuration", 1);
  const fail = exchange("deployments.http", "POST", `/v1/deployment/fail/${DEPLOYMENT}`);
  const noVersion = exchange("jobs.http", "POST", "/v1/job/web/revert", 1);
  await compareAll(
    [
      fail,
      noVersion,
      invalid,
      exchange("jobs.http", "POST", "/v1/jobs", 2),
      exchange("jobs.http", "POST", "/v1/jobs", 3),
      exchange("jobs.http", "POST", "/v1/jobs/parse", 3),
      eligibility,
      algorithm,
      exchange("cluster.http", "POST", "/v1/search", 2),
    ],
    {
      endpoints: {
        deployments: { fail: refuse(fail) },
        jobs: { register: refuse(invalid), revert: refuse(noVersion) },
        nodes: { setEligibility: refuse(eligibility) },
        operator: { setSchedulerConfiguration: refuse(algorithm) },
      },
    },
  );
});

test("files, logs and usage come from the allocation's node as recorded", async () => {
  const at = (path: string) => get("allocations.http", `/v1/client/${path}`);
  const fs = (path: string) => at(`fs/${path}`);
  const ls = fs(`ls/${ALLOC}?path=/`);
  const stat = fs(`stat/${ALLOC}?path=/server/local/info.txt`);
  const cat = fs(`cat/${ALLOC}?path=/server/local/info.txt`);
  const plain = fs(`logs/${ALLOC}?task=server&type=stdout&plain=true`);
  const framed = fs(`logs/${ALLOC}?task=server&type=stdout`);
  const frame = framed.json as { Data: string; File: string; Offset: number };
  const calls: unknown[] = [];
  const state = recordedState();
  const nodes = {
    async call(nodeId: string, method: string, request: object) {
      calls.push([nodeId, method, request]);
      if (method === "fs.list") return ls.json as never;
      if (method === "fs.stat") return stat.json as never;
      if (method === "allocation.stats") return at(`allocation/${ALLOC}/stats`).json as never;
      if (method === "node.stats") return get("nodes.http", `/v1/client/stats?node_id=${NODE}`).json as never;
      return {} as never;
    },
    async *stream(_node: string, method: string, request: object): AsyncGenerator<FileFrame> {
      const { path, offset, limit } = request as { path: string; offset: number; limit: number };
      if (method === "fs.logs") {
        yield { File: frame.File, Offset: frame.Offset, Data: Buffer.from(frame.Data, "base64") };
      } else if (path.includes("..")) {
        throw new RemoteError("bad_request", "Path escapes the alloc directory");
      } else {
        const bytes = Buffer.from(cat.body).subarray(offset, limit === 0 ? undefined : offset + limit);
        yield { File: path, Offset: offset + bytes.length, Data: bytes };
      }
    },
  };
  await using api = await startApi({ state, endpoints: { nodes: nodes as never } });
  const exact = [
    ls,
    stat,
    cat,
    fs(`readat/${ALLOC}?path=/server/local/info.txt&offset=2&limit=5`),
    fs(`cat/${ALLOC}?path=/../../../../etc/passwd`),
    framed,
    at(`allocation/${ALLOC}/stats`),
    exchange("allocations.http", "POST", `/v1/client/allocation/${ALLOC}/signal`),
    exchange("allocations.http", "POST", `/v1/client/allocation/${ALLOC}/restart`),
    get("nodes.http", `/v1/client/stats?node_id=${NODE}`),
  ];
  for (const recording of exact) await compare(api, recording);
  const logs = await answer(api, plain);
  assert.equal(logs.headers.get("content-type"), "text/plain");
  assert.equal(await logs.text(), Buffer.from(frame.Data, "base64").toString());
  const unknown = fs(`logs/${ALLOC}?task=nope&type=stdout`);
  const refused = await answer(api, unknown);
  assert.equal(refused.status, 400);
  assert.equal(await refused.text(), unknown.body.trim());
  assert.deepEqual(calls[0], [NODE, "fs.list", { allocId: ALLOC, path: "/" }]);
  assert.deepEqual(calls.at(-2), [NODE, "allocation.restart", { allocId: ALLOC, task: "server" }]);
});
