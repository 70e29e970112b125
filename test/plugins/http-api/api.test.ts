/** How the API behaves around its answers: blocking, bounds, encodings, streams, stops. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import {
  type Allocation,
  EndpointError,
  type FileFrame,
  type Job,
  NotLeaderError,
  StateTable,
} from "@drover/plugin-sdk";
import { FakeState } from "./fake-state.js";
import { startApi, until } from "./harness.js";
import { exchange } from "./recordings.js";

const { Jobs, JobSummaries, Allocations } = StateTable;
const web = exchange("jobs.http", "GET", "/v1/job/web").json as Job;
const ALLOC = "1b2cb536-d176-7984-bab9-e6f02863b2c7";

function stateWithAllocation(): FakeState {
  const state = new FakeState();
  const { Job, ...row } = exchange("allocations.http", "GET", `/v1/allocation/${ALLOC}`).json as Allocation;
  state.allocations.push({ ...row, Job: null, JobVersion: 2 });
  state.allocationJobs.set(ALLOC, Job!);
  return state;
}

test("a blocking query answers when its table passes the index, and not before", async () => {
  const state = new FakeState();
  state.change(5, Jobs);
  await using api = await startApi({ state });
  let answered = false;
  const response = api.get("/v1/jobs?index=5&wait=60s").then((answer) => {
    answered = true;
    return answer;
  });
  await until("a watch", () => state.watches === 1);
  state.change(6, Allocations);
  assert.equal(answered, false);
  state.jobs.push(web);
  state.change(7, Jobs, JobSummaries);
  const answer = await response;
  assert.equal(answer.headers.get("x-nomad-index"), "7");
  assert.equal(((await answer.json()) as unknown[]).length, 1);
  assert.equal(state.watches, 0);
  assert.equal(state.openSnapshots, 0);
});

test("a query for an object waits for that object alone", async () => {
  const state = new FakeState();
  state.jobs.push({ ...web, ModifyIndex: 5 }, { ...web, ID: "other", ModifyIndex: 5 });
  state.change(5, Jobs);
  await using api = await startApi({ state });
  const response = api.get("/v1/job/web?index=5&wait=60s");
  await until("a watch", () => state.watches === 1);
  state.jobs[1] = { ...web, ID: "other", ModifyIndex: 6 };
  state.change(6, Jobs);
  await until("the watch again", () => state.watches === 1);
  state.jobs[0] = { ...web, ModifyIndex: 7 };
  state.change(7, Jobs);
  assert.equal((await response).headers.get("x-nomad-index"), "7");
});

test("a wait that passes answers with what there is", async () => {
  const state = new FakeState();
  state.jobs.push(web);
  state.change(5, Jobs);
  await using api = await startApi({ state });
  const answer = await api.get("/v1/jobs?index=99&wait=30ms");
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("x-nomad-index"), "5");
});

test("an index is never 0, or clients would ask without ever waiting", async () => {
  await using api = await startApi();
  assert.equal((await api.get("/v1/allocations")).headers.get("x-nomad-index"), "1");
});

test("nonsense in index or wait is refused", async () => {
  await using api = await startApi();
  for (const [query, text] of [
    ["index=x", "Invalid index"],
    ["index=-1", "Invalid index"],
    ["index=1&wait=soon", "Invalid wait time"],
  ]) {
    const answer = await api.get(`/v1/jobs?${query}`);
    assert.equal(answer.status, 400);
    assert.equal(await answer.text(), text);
  }
});

test("a client that goes away frees its watch", async () => {
  const state = new FakeState();
  state.change(5, Jobs);
  await using api = await startApi({ state });
  const abort = new AbortController();
  const response = api.get("/v1/jobs?index=5&wait=60s", { signal: abort.signal });
  await until("a watch", () => state.watches === 1);
  abort.abort();
  await assert.rejects(response);
  await until("no watch", () => state.watches === 0 && state.openSnapshots === 0);
});

test("more blocking queries than allowed are refused, and places come free again", async () => {
  const state = new FakeState();
  state.change(5, Jobs);
  await using api = await startApi({ state, plugin: { max_blocking_queries: 2 } });
  const waiting = [api.get("/v1/jobs?index=5"), api.get("/v1/jobs?index=5")];
  await until("two watches", () => state.watches === 2);
  const refused = await api.get("/v1/jobs?index=5");
  assert.equal(refused.status, 429);
  assert.match(await refused.text(), /Too many blocking queries: 2 .*max_blocking_queries/);
  state.change(6, Jobs);
  for (const answer of await Promise.all(waiting)) assert.equal(answer.status, 200);
  assert.equal((await api.get("/v1/jobs?index=6&wait=1ms")).status, 200);
});

test("a stop lets blocking queries answer", async () => {
  const state = new FakeState();
  state.change(5, Jobs);
  const api = await startApi({ state });
  const response = api.get("/v1/jobs?index=5");
  await until("a watch", () => state.watches === 1);
  await api[Symbol.asyncDispose]();
  assert.equal((await response).status, 200);
  assert.deepEqual(api.fatal, []);
});

test("without a leader only stale reads are answered", async () => {
  await using api = await startApi({ endpoints: { status: { leader: () => "" } } });
  const refused = await api.get("/v1/jobs");
  assert.equal(refused.status, 500);
  assert.equal(await refused.text(), "No cluster leader");
  const stale = await api.get("/v1/jobs?stale");
  assert.equal(stale.status, 200);
  assert.equal(stale.headers.get("x-nomad-knownleader"), "false");
});

test("reads catch up with the leader unless they may be stale, and say how old the state is", async () => {
  const confirmed: boolean[] = [];
  let contact: number | null = 12;
  const status = {
    catchUp: async (isConfirmed: boolean) => void confirmed.push(isConfirmed),
    lastContact: () => contact,
  };
  await using api = await startApi({ endpoints: { status } });
  await api.get("/v1/jobs");
  await api.get("/v1/jobs?consistent");
  assert.deepEqual(confirmed, [false, true]);
  const stale = await api.get("/v1/jobs?stale");
  assert.deepEqual(confirmed, [false, true]);
  assert.equal(stale.headers.get("x-nomad-lastcontact"), "12");
  contact = null;
  const never = await api.get("/v1/jobs?stale");
  assert.equal(never.headers.get("x-nomad-lastcontact"), "9223372036854");
});

test("a write on a server without a leader says so", async () => {
  const register = async () => {
    throw new NotLeaderError(undefined);
  };
  await using api = await startApi({ endpoints: { jobs: { register } } });
  const answer = await api.send("POST", "/v1/jobs", { Job: { ID: "web" } });
  assert.equal(answer.status, 500);
  assert.equal(await answer.text(), "No cluster leader");
  assert.ok(!api.logged.some((line) => line.level === "error"));
});

test("job ids may contain slashes, spaces and escapes", async () => {
  const state = new FakeState();
  const ids = ["cron/periodic-1795445352", "a b/c", "plan", "50%", "ünï/summary/x"];
  for (const ID of ids) state.jobs.push({ ...web, ID });
  await using api = await startApi({ state });
  for (const id of ids) {
    for (const path of [encodeURIComponent(id), encodeURI(id)]) {
      const answer = await api.get(`/v1/job/${path}`);
      assert.equal(answer.status, 200, id);
      assert.equal(((await answer.json()) as Job).ID, id);
    }
  }
  assert.equal((await api.get("/v1/job/cron/periodic-1795445352/allocations")).status, 200);
  assert.equal((await api.get("/v1/job/%zz")).status, 400);
});

test("a registration passes on what the body and the query say", async () => {
  const requests: unknown[] = [];
  const register = async (request: object) => {
    requests.push(request);
    return { Index: 7 } as never;
  };
  await using api = await startApi({ endpoints: { jobs: { register } } });
  const body = {
    Job: { ID: "a/b", Namespace: "" },
    EnforceIndex: true,
    JobModifyIndex: 3,
    PreserveCounts: true,
  };
  const answer = await api.send("PUT", "/v1/job/a%2Fb?namespace=dev", body);
  assert.equal(answer.headers.get("x-nomad-index"), "7");
  assert.deepEqual(requests, [
    {
      job: { ID: "a/b", Namespace: "" },
      namespace: "dev",
      region: "global",
      enforceIndex: true,
      jobModifyIndex: 3,
      preserveCounts: true,
    },
  ]);
  const refusals: [body: unknown, text: RegExp][] = [
    [{}, /^Job must be specified$/],
    [{ Job: "web" }, /^json: cannot unmarshal string into Job/],
    [{ Job: {} }, /^Job ID hasn't been provided$/],
    [{ Job: { ID: "c" } }, /^Job ID does not match name$/],
    [[], /it must be an object/],
    ["", /^Request body is empty$/],
  ];
  for (const [refused, text] of refusals) {
    const response = await api.send("PUT", "/v1/job/a%2Fb", refused);
    assert.equal(response.status, 400);
    assert.match(await response.text(), text);
  }
  assert.equal(requests.length, 1);
});

test("a plan passes on the job and whether its difference is wanted", async () => {
  const requests: unknown[] = [];
  const plan = async (request: object) => {
    requests.push(request);
    return { Index: 7, CreatedEvals: null } as never;
  };
  await using api = await startApi({ endpoints: { jobs: { plan } } });
  for (const method of ["PUT", "POST"]) {
    const answer = await api.send(method, "/v1/job/a%2Fb/plan?namespace=dev", {
      Job: { ID: "a/b" },
      Diff: method === "PUT",
      PolicyOverride: true,
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("x-nomad-index"), "7");
  }
  assert.deepEqual(requests, [
    { job: { ID: "a/b" }, namespace: "dev", diff: true },
    { job: { ID: "a/b" }, namespace: "dev", diff: false },
  ]);
  const refusals: [body: unknown, text: RegExp][] = [
    [{}, /^Job must be specified$/],
    [{ Job: {} }, /^Job must have a valid ID$/],
    [{ Job: { ID: "c" } }, /^Job ID does not match$/],
    ["", /^Request body is empty$/],
  ];
  for (const [refused, text] of refusals) {
    const response = await api.send("PUT", "/v1/job/a%2Fb/plan", refused);
    assert.equal(response.status, 400);
    assert.match(await response.text(), text);
  }
  assert.equal((await api.get("/v1/job/web/plan")).status, 405);
  assert.equal(requests.length, 2);
});

test("versions are compared only where their differences are asked for", async () => {
  const state = new FakeState();
  state.jobs.push(web);
  const asked: number[] = [];
  const diffVersions = (versions: readonly Job[]) => {
    asked.push(versions.length);
    return [{ ID: "web" }] as never;
  };
  await using api = await startApi({ state, endpoints: { jobs: { diffVersions } } });
  const diffs = async (query: string): Promise<unknown> =>
    ((await (await api.get(`/v1/job/web/versions${query}`)).json()) as { Diffs: unknown }).Diffs;
  assert.equal(await diffs(""), null);
  assert.equal(await diffs("?diffs=false"), null);
  assert.deepEqual(asked, []);
  assert.deepEqual(await diffs("?diffs=true"), [{ ID: "web" }]);
  assert.deepEqual(asked, [1]);
});

test("an unexpected failure is 500 with its text, logged with the request", async () => {
  const register = async () => {
    throw new Error("disk on fire");
  };
  await using api = await startApi({ endpoints: { jobs: { register } } });
  const answer = await api.send("POST", "/v1/jobs?token=x", { Job: { ID: "web" } });
  assert.equal(answer.status, 500);
  assert.equal(await answer.text(), "disk on fire");
  const line = api.logged.find(({ level }) => level === "error");
  assert.deepEqual({ ...line?.fields, err: undefined }, { err: undefined, method: "POST", path: "/v1/jobs" });
});

test("bodies are bounded", async () => {
  await using api = await startApi({ plugin: { max_body_bytes: 2 * 1024 * 1024 } });
  const large = await api.send("POST", "/v1/jobs", JSON.stringify({ Job: "x".repeat(3 * 1024 * 1024) }));
  assert.equal(large.status, 413);
  assert.equal(await large.text(), "Request body is too large: at most 2097152 bytes are taken");
  const hcl = await api.send("POST", "/v1/jobs/parse", { JobHCL: "#".repeat(1024 * 1024) });
  assert.equal(hcl.status, 413);
  assert.match(await hcl.text(), /Job spec is too large: at most 1048576 bytes/);
});

test("garbage is answered 400 and the server goes on", async () => {
  await using api = await startApi();
  for (const garbage of ["\x16\x03\x01\x02\x00 tls hello", "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]) {
    const socket = connect(api.port, "127.0.0.1");
    socket.end(garbage);
    let answer = "";
    for await (const chunk of socket) answer += chunk;
    assert.match(answer, /^HTTP\/1\.1 (400|505) /, JSON.stringify(garbage));
  }
  const header = await new Promise<number>((resolve, reject) => {
    const request = httpRequest(
      `${api.url}/v1/jobs`,
      { headers: { "X-Long": "x".repeat(20_000) } },
      (response) => resolve(response.statusCode ?? 0),
    );
    request.on("error", reject);
    request.end();
  });
  assert.equal(header, 431);
  assert.equal((await api.get("/v1/jobs")).status, 200);
});

test("connections of one client are bounded", async () => {
  await using api = await startApi({ config: { limits: { http_max_conns_per_client: 3 } } });
  const sockets = Array.from({ length: 3 }, () => connect(api.port, "127.0.0.1"));
  try {
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    const refused = await api.get("/v1/jobs");
    assert.equal(refused.status, 429);
    assert.match(await refused.text(), /more than 3 connections open.*http_max_conns_per_client/);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  let status = 429;
  for (let tries = 0; status === 429 && tries < 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    status = (await api.get("/v1/jobs")).status;
  }
  assert.equal(status, 200);
});

test("answers are indented on request and compressed where that pays", async () => {
  const state = new FakeState();
  state.jobs.push(web);
  await using api = await startApi({ state, config: { http_api_response_headers: { "X-Site": "lab" } } });
  const plain = await api.get("/v1/job/web", { headers: { "Accept-Encoding": "identity" } });
  assert.equal(plain.headers.get("content-encoding"), null);
  assert.equal(plain.headers.get("x-site"), "lab");
  const gzipped = await api.get("/v1/job/web", { headers: { "Accept-Encoding": "gzip" } });
  assert.equal(gzipped.headers.get("content-encoding"), "gzip");
  assert.deepEqual(await gzipped.json(), await plain.json());
  const refused = await api.get("/v1/job/web", { headers: { "Accept-Encoding": "gzip;q=0, deflate" } });
  assert.equal(refused.headers.get("content-encoding"), null);
  const pretty = await (await api.get("/v1/jobs?pretty")).text();
  assert.equal(pretty, JSON.stringify(JSON.parse(pretty), null, 4));
  assert.equal(await (await api.get("/v1/allocations?pretty=true")).text(), "[]");
});

test("a long list arrives whole in every encoding, and other requests are answered meanwhile", async () => {
  const state = stateWithAllocation();
  const template = state.allocations[0]!;
  const job = state.allocationJobs.get(ALLOC)!;
  state.jobs.push(job);
  for (let i = 0; i < 5000; i++) state.allocations.push({ ...template, ID: `alloc-${i}` });
  await using api = await startApi({ state });
  for (const path of ["/v1/allocations", "/v1/allocations?pretty"]) {
    for (const encoding of ["identity", "gzip"]) {
      const [list, leader] = await Promise.all([
        api.get(path, { headers: { "Accept-Encoding": encoding } }),
        api.get("/v1/status/leader"),
      ]);
      assert.equal(leader.status, 200);
      const rows = (await list.json()) as { ID: string }[];
      assert.equal(rows.length, 5001);
      assert.equal(rows.at(-1)?.ID, "alloc-4999");
    }
  }
  assert.equal(state.openSnapshots, 0);
});

test("a client that leaves in the middle of a list frees the state it was read from", async () => {
  const state = stateWithAllocation();
  const template = state.allocations[0]!;
  for (let i = 0; i < 20_000; i++) state.allocations.push({ ...template, ID: `alloc-${i}` });
  await using api = await startApi({ state });
  const socket = connect(api.port, "127.0.0.1");
  socket.write("GET /v1/allocations HTTP/1.1\r\nHost: x\r\n\r\n");
  await new Promise((resolve) => socket.once("data", resolve));
  socket.destroy();
  await until("closed snapshots", () => state.openSnapshots === 0);
});

test("a followed log keeps coming with heartbeats, and ends on the node when the client leaves", async () => {
  let stopped = false;
  const stream = async function* (
    _node: string,
    _method: string,
    _request: object,
    signal: AbortSignal,
  ): AsyncGenerator<FileFrame> {
    yield { File: "alloc/logs/server.stdout.0", Offset: 5, Data: Buffer.from("hello") };
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    stopped = true;
  };
  await using api = await startApi({
    state: stateWithAllocation(),
    endpoints: { nodes: { stream } as never },
  });
  const abort = new AbortController();
  const path = `/v1/client/fs/logs/${ALLOC}?task=server&type=stdout&follow=true`;
  const answer = await api.get(path, { signal: abort.signal });
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    text += decoder.decode(chunk as Uint8Array);
    if (text.includes("}{}{}")) break;
  }
  abort.abort();
  assert.ok(text.startsWith('{"Data":"aGVsbG8=","File":"alloc/logs/server.stdout.0","Offset":5}{}'), text);
  await until("the end of the node's stream", () => stopped);
});

test("parameters of logs are checked before the node is asked", async () => {
  await using api = await startApi({ state: stateWithAllocation() });
  const refusals: [query: string, status: number, text: string][] = [
    ["type=stdout", 400, "must provide task name"],
    ["task=server", 400, "must provide log type (stdout/stderr)"],
    ["task=server&type=stdin", 400, "must provide log type (stdout/stderr)"],
    ["task=server&type=stdout&origin=middle", 400, "origin must be start or end"],
    ["task=server&type=stdout&offset=-1", 400, 'error parsing offset: "-1" is not a whole number'],
  ];
  for (const [query, status, text] of refusals) {
    const answer = await api.get(`/v1/client/fs/logs/${ALLOC}?${query}`);
    assert.equal(answer.status, status, query);
    assert.equal(await answer.text(), text);
  }
  const unknown = await api.get("/v1/client/fs/ls/11111111-2222-3333-4444-555555555555");
  assert.equal(unknown.status, 404);
  assert.equal(await unknown.text(), 'Unknown allocation "11111111-2222-3333-4444-555555555555"');
});

test("a join token is issued for the time asked, and kept out of caches", async () => {
  const asked: number[] = [];
  const issueJoinToken = async (ttl: number) => {
    asked.push(ttl);
    return "drover1.token";
  };
  await using api = await startApi({ endpoints: { operator: { issueJoinToken } } });
  for (const body of [{ TTL: "1h" }, { TTL: 60e9 }, ""]) {
    const answer = await api.send("POST", "/v1/operator/join-token", body);
    assert.deepEqual(await answer.json(), { JoinToken: "drover1.token" });
    assert.equal(answer.headers.get("cache-control"), "no-store");
  }
  assert.deepEqual(asked, [3_600_000, 60_000, 900_000]);
  for (const TTL of ["soon", -1, "10000h", true]) {
    assert.equal((await api.send("POST", "/v1/operator/join-token", { TTL })).status, 400);
  }
});

test("an agent that runs only a client answers for itself and refuses the servers' paths", async () => {
  await using api = await startApi({
    clientOnly: true,
    client: {
      nodeId: ALLOC,
      health: () => ({ ok: false, message: "no servers" }),
      stats: () => ({ node_id: ALLOC }),
    },
  });
  const health = await api.get("/v1/agent/health");
  assert.equal(health.status, 500);
  assert.deepEqual(await health.json(), { client: { ok: false, message: "no servers" } });
  const self = (await (await api.get("/v1/agent/self")).json()) as { stats: object };
  assert.deepEqual(self.stats, { client: { node_id: ALLOC } });
  assert.equal((await api.get("/v1/metrics")).status, 200);
  for (const path of ["/v1/jobs", "/v1/job/web", "/v1/status/leader", "/v1/agent/members", "/v1/regions"]) {
    const answer = await api.get(path);
    assert.equal(answer.status, 500, path);
    assert.match(await answer.text(), /^server is not enabled on this agent/);
  }
});

test("servers are joined, and a failure to is told in the answer", async () => {
  const joined: (readonly string[])[] = [];
  await using api = await startApi({
    endpoints: {
      status: {
        join: async (addresses) => {
          joined.push(addresses);
          if (addresses[0] === "bad address") throw new EndpointError(400, "no address");
          if (addresses.length === 1) throw new EndpointError(500, "nobody there");
          return addresses.length;
        },
        forceLeave: async (node) => {
          if (node !== "s3.global") throw new EndpointError(404, `no server is known by the name ${node}`);
        },
      },
    },
  });
  const put = async (path: string) => {
    const answer = await api.send("PUT", path);
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await put("/v1/agent/join?address=a&address=b:1"), [200, '{"error":"","num_joined":2}']);
  assert.deepEqual(joined, [["a", "b:1"]]);
  assert.deepEqual(await put("/v1/agent/join?address=a"), [200, '{"error":"nobody there","num_joined":0}']);
  assert.deepEqual(await put("/v1/agent/join?address=bad%20address"), [400, "no address"]);
  assert.deepEqual(await put("/v1/agent/join"), [400, "missing address to join"]);
  assert.equal((await put("/v1/agent/force-leave?node=s3.global"))[0], 200);
  assert.deepEqual(await put("/v1/agent/force-leave?node=s9"), [404, "no server is known by the name s9"]);
  assert.deepEqual(await put("/v1/agent/force-leave"), [400, "missing node to force leave"]);
  assert.equal((await api.get("/v1/agent/join?address=a")).status, 405);
});

test("metrics come as Nomad's JSON and for Prometheus", async () => {
  await using api = await startApi();
  assert.deepEqual(Object.keys((await (await api.get("/v1/metrics?pretty")).json()) as object).sort(), [
    "Counters",
    "Gauges",
    "Points",
    "Samples",
    "Timestamp",
  ]);
  const text = await api.get("/v1/metrics?format=prometheus");
  assert.match(text.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.match(await text.text(), /nomad_up 1/);
});

test("plugins add routes, but not over the API's own", async () => {
  const routes = [
    {
      method: "GET" as const,
      path: "/v1/widgets/:id",
      handle: (request: { params: Readonly<Record<string, string>>; query: URLSearchParams }) => ({
        status: 201,
        headers: { "X-Widget": "yes" },
        body: { id: request.params.id, color: request.query.get("color") },
      }),
    },
  ];
  await using api = await startApi({ routes: { routes } });
  const answer = await api.get("/v1/widgets/a%2Fb?color=red");
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.get("x-widget"), "yes");
  assert.deepEqual(await answer.json(), { id: "a/b", color: "red" });
  assert.equal((await api.send("DELETE", "/v1/widgets/1")).status, 405);
  for (const [path, text] of [
    ["/v1/allocation/:name", /is one of the API's own/],
    ["/widgets", /must be under \/v1\//],
  ] as const) {
    await assert.rejects(startApi({ routes: { routes: [{ ...routes[0]!, path }] } }), text);
  }
});

test("a port in use is told with the address and the setting", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as { port: number };
  try {
    await assert.rejects(
      startApi({ config: { ports: { http: port } } }),
      new RegExp(`can't listen on 127\\.0\\.0\\.1:${port}: the port is in use.*ports\\.http`),
    );
  } finally {
    other.close();
  }
});

test("cas of the scheduler configuration reaches the endpoint, and nonsense is refused", async () => {
  const given: unknown[] = [];
  await using api = await startApi({
    endpoints: {
      operator: {
        setSchedulerConfiguration: async (config: unknown, cas?: number) => {
          given.push([config, cas]);
          return { Index: 9, Updated: cas !== 3 };
        },
      },
    },
  });
  const path = "/v1/operator/scheduler/configuration";
  const put = (query: string) => api.send("PUT", `${path}${query}`, { SchedulerAlgorithm: "spread" });
  const refused = await put("?cas=3");
  assert.deepEqual(await refused.json(), { Index: 9, Updated: false });
  await put("");
  assert.deepEqual(given, [
    [{ SchedulerAlgorithm: "spread" }, 3],
    [{ SchedulerAlgorithm: "spread" }, undefined],
  ]);
  const nonsense = await put("?cas=latest");
  assert.equal(nonsense.status, 400);
  assert.match(await nonsense.text(), /cas: "latest" is not a whole number/);
});
