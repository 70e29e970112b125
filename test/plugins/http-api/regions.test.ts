import assert from "node:assert/strict";
import { get as httpGet } from "node:http";
import { test } from "node:test";
import { type AgentMember, type FileFrame, type JobRegistration, RpcError } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork } from "@drover/plugin-sdk/testing";
import { FakeState } from "./fake-state.js";
import { type Api, type ApiOptions, startApi, until } from "./harness.js";

const member = (name: string, region: string, extra: Partial<AgentMember> = {}): AgentMember =>
  ({
    Name: `${name}.${region}`,
    Addr: name,
    Port: 4648,
    Status: "alive",
    Tags: { region, rpc_addr: name, port: "4647", dc: "dc1", role: "nomad" },
    ...extra,
  }) as AgentMember;

const MEMBERS = [
  member("here", "global"),
  member("there", "mars"),
  member("gone", "venus", { Status: "failed" }),
];

interface Pair extends AsyncDisposable {
  readonly here: Api;
  readonly there: Api;
  readonly network: MemoryNetwork;
}

/** A server of region `global` and one of region `mars`, each with what the test gives it. */
async function pair(mars: ApiOptions = {}, members: readonly AgentMember[] = MEMBERS): Promise<Pair> {
  const network = new MemoryNetwork();
  const listed = { status: { members: () => [...members] } };
  const here = await startApi({ network: network.join("here:4647", "global"), endpoints: listed });
  const there = await startApi({
    ...mars,
    region: "mars",
    network: network.join("there:4647", "mars"),
    endpoints: { ...mars.endpoints, status: { ...listed.status, ...mars.endpoints?.status } },
  });
  return {
    here,
    there,
    network,
    [Symbol.asyncDispose]: async () => {
      await here[Symbol.asyncDispose]();
      await there[Symbol.asyncDispose]();
    },
  };
}

test("a read for another region is answered by a server of that region, headers and all", async () => {
  await using servers = await pair({ endpoints: { status: { leader: () => "mars:4647" } } });
  const answer = await servers.here.get("/v1/status/leader?region=mars");
  assert.equal(await answer.text(), '"mars:4647"');
  const missing = await servers.here.get("/v1/job/web?region=mars");
  assert.deepEqual([missing.status, await missing.text()], [404, "job not found"]);
  assert.equal(missing.headers.get("x-nomad-index"), "1");
  assert.equal(missing.headers.get("x-nomad-knownleader"), "true");
  const nothing = await servers.here.get("/v1/nowhere?region=mars");
  assert.equal(nothing.status, 404);
  assert.equal(await (await servers.here.get("/v1/status/leader")).text(), '"127.0.0.1:4647"');
});

test("a write goes there with its body and its token", async () => {
  const registered: JobRegistration[] = [];
  const tokens: unknown[] = [];
  await using servers = await pair({
    endpoints: {
      jobs: {
        register: async (request: JobRegistration) => {
          registered.push(request);
          return { EvalID: "e", EvalCreateIndex: 9, JobModifyIndex: 9, Warnings: "", Index: 9 } as never;
        },
      },
    },
    routes: {
      routes: [
        {
          method: "GET",
          path: "/v1/token",
          handle: (request) => {
            tokens.push(request.headers["x-nomad-token"]);
            return { body: {} };
          },
        },
      ],
    },
  });
  const Job = { ID: "web", Name: "ü".repeat(100_000) };
  const answer = await servers.here.send("PUT", "/v1/jobs?region=mars", { Job });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("x-nomad-index"), "9");
  assert.deepEqual(registered[0]?.job, Job);
  const secret = "3b9f2c1e-0000-4000-8000-000000000000";
  await servers.here.get("/v1/token?region=mars", { headers: { "X-Nomad-Token": secret } });
  assert.deepEqual(tokens, [secret]);
});

test("answers that are compressed and long lists cross as they are", async () => {
  const state = new FakeState();
  const stubs = Array.from({ length: 3_000 }, (_, at) => `job-${String(at).padStart(5, "0")}`);
  await using servers = await pair({
    state,
    endpoints: { status: { peers: () => stubs } },
  });
  const answer = await servers.here.get("/v1/status/peers?region=mars", {
    headers: { "Accept-Encoding": "gzip" },
  });
  assert.equal(answer.headers.get("content-encoding"), "gzip");
  assert.deepEqual(await answer.json(), stubs);
});

test("an unknown region has no path, nor has one whose servers are all gone", async () => {
  await using servers = await pair();
  for (const region of ["pluto", "venus"]) {
    const answer = await servers.here.get(`/v1/jobs?region=${region}`);
    assert.deepEqual([answer.status, await answer.text()], [500, "No path to region"]);
  }
  await using alone = await startApi({ endpoints: { status: { members: () => [member("there", "mars")] } } });
  assert.equal(await (await alone.get("/v1/jobs?region=mars")).text(), "No path to region");
});

test("another server of the region is asked where one can't be reached, and which failed is said at the end", async () => {
  const members = [...MEMBERS, member("lost", "mars")];
  await using servers = await pair({}, members);
  for (let time = 0; time < 10; time++)
    assert.equal((await servers.here.get("/v1/status/leader?region=mars")).status, 200);
  servers.network.isolate("here:4647");
  const answer = await servers.here.get("/v1/status/leader?region=mars");
  assert.equal(answer.status, 500);
  assert.match(
    await answer.text(),
    /^no server of region "mars" could be asked; the last one, (there|lost):4647: /,
  );
});

test("a request is not sent on to a third region", async () => {
  // Whoever keeps the list says that a server is of mars which is of venus.
  const network = new MemoryNetwork();
  await using here = await startApi({
    network: network.join("here:4647", "global"),
    endpoints: { status: { members: () => [member("there", "mars")] } },
  });
  await using _there = await startApi({ region: "venus", network: network.join("there:4647", "venus") });
  const answer = await here.get("/v1/jobs?region=mars");
  assert.equal(answer.status, 500);
  assert.match(await answer.text(), /region "venus"/);
});

test("what an agent says of itself is its own, whatever region is named", async () => {
  await using servers = await pair();
  for (const path of ["/v1/agent/members", "/v1/metrics", "/v1/regions"])
    assert.equal((await servers.here.get(`${path}?region=pluto`)).status, 200, path);
  assert.deepEqual(await (await servers.here.get("/v1/regions")).json(), ["global", "mars", "venus"]);
});

const ALLOC = "8a2b6c1d-4e5f-4a7b-8c9d-0e1f2a3b4c5d";

/** A state with one allocation whose task is `t`. */
function stateWithAllocation(): FakeState {
  const state = new FakeState();
  const alloc = { ID: ALLOC, NodeID: "n", Namespace: "default", JobID: "web", TaskGroup: "g" };
  const job = { ID: "web", TaskGroups: [{ Name: "g", Tasks: [{ Name: "t" }] }] };
  const snapshot = state.snapshot.bind(state);
  state.snapshot = () =>
    Object.assign(snapshot(), { allocation: () => alloc as never, allocationJob: () => job as never });
  return state;
}

const logs = `/v1/client/fs/logs/${ALLOC}?task=t&type=stdout&plain=true&follow=true`;

test("logs flow from the other region as fast as they are read, and stop when the reader leaves", async () => {
  let sent = 0;
  let isClosed = false;
  await using servers = await pair({
    state: stateWithAllocation(),
    endpoints: {
      nodes: {
        stream: async function* (_node: string, _method: string, _call: object, signal: AbortSignal) {
          signal.addEventListener("abort", () => {
            isClosed = true;
          });
          while (!signal.aborted) {
            sent++;
            yield { File: "t.stdout.0", Offset: 0, Data: Buffer.alloc(65_536, sent) } satisfies FileFrame;
          }
        } as never,
      },
    },
  });
  const [answer, request] = await new Promise<
    [import("node:http").IncomingMessage, import("node:http").ClientRequest]
  >((resolve, reject) => {
    const request = httpGet(`${servers.here.url}${logs}&region=mars`, (answer) => resolve([answer, request]));
    request.on("error", reject);
  });
  assert.equal(answer.statusCode, 200);
  answer.pause();
  let before = -1;
  while (before !== sent) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  // What the sockets and streams between take, and no more.
  assert.ok(sent < 500, `${sent} frames for a reader that took none`);
  let read = 0;
  for await (const chunk of answer) {
    read += (chunk as Buffer).length;
    if (read > 65_536 * (before + 50)) break;
  }
  request.destroy();
  await until("the stream there is closed", () => isClosed);
});

test("a stream that is cut in the middle reaches the reader as cut, not as ended", async () => {
  await using servers = await pair({
    state: stateWithAllocation(),
    endpoints: {
      nodes: {
        stream: async function* (_node: string, _method: string, _call: object, signal: AbortSignal) {
          yield { File: "t.stdout.0", Offset: 5, Data: Buffer.from("hello") } satisfies FileFrame;
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        } as never,
      },
    },
  });
  const answer = await servers.here.get(`${logs}&region=mars`);
  const reader = answer.body!.getReader();
  const first = await reader.read();
  assert.equal(Buffer.from(first.value!).toString(), "hello");
  servers.network.cut("here:4647", "there:4647");
  await assert.rejects(reader.read());
});

test("a server answers so many requests of other regions at a time, and says that it is busy beyond", async () => {
  await using servers = await pair();
  const network = servers.network.join("hungry:4647", "global");
  const open = await Promise.all(
    Array.from({ length: 1_000 }, () =>
      network.stream("there:4647", "Http.Request", new Uint8Array(), { deadline: 5_000, region: "mars" }),
    ),
  );
  await assert.rejects(
    network.stream("there:4647", "Http.Request", new Uint8Array(), { deadline: 5_000, region: "mars" }),
    (error: unknown) => error instanceof RpcError && error.code === "ERR_RPC_BUSY",
  );
  for (const stream of open) stream.destroy();
  await eventually(
    "there is room again",
    async () => (await servers.here.get("/v1/status/leader?region=mars")).status === 200,
  );
});
