/** Operators' paths: raft, autopilot, snapshots. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { test } from "node:test";
import { EndpointError, type OperatorHealthReply, type RaftPeerName } from "@drover/plugin-sdk";
import { type Api, startApi, until } from "./harness.js";

test("a peer is named by id or address; what the endpoint refuses is the answer", async () => {
  const asked: RaftPeerName[] = [];
  const removeRaftPeer = async (peer: RaftPeerName) => {
    asked.push(peer);
    if (peer.id === undefined && peer.address === undefined) throw new EndpointError(400, "name one");
  };
  await using api = await startApi({ endpoints: { operator: { removeRaftPeer } } });
  assert.equal((await api.send("DELETE", "/v1/operator/raft/peer?id=a")).status, 200);
  assert.equal((await api.send("DELETE", "/v1/operator/raft/peer?address=10.0.0.1:4647")).status, 200);
  assert.equal((await api.send("DELETE", "/v1/operator/raft/peer?id=a&address=b")).status, 200);
  const refused = await api.send("DELETE", "/v1/operator/raft/peer?id=");
  assert.deepEqual([refused.status, await refused.text()], [400, "name one"]);
  assert.equal((await api.get("/v1/operator/raft/peer")).status, 405);
  assert.deepEqual(asked, [{ id: "a" }, { address: "10.0.0.1:4647" }, { id: "a", address: "b" }, {}]);
});

test("leadership is handed on by PUT and POST", async () => {
  const server = { Address: "", ID: "a", Leader: true, Node: "", RaftProtocol: "3", Voter: true };
  const transferLeadership = async ({ id }: RaftPeerName) => ({
    From: server,
    Noop: false,
    To: { ...server, ID: id ?? "" },
  });
  await using api = await startApi({ endpoints: { operator: { transferLeadership } } });
  for (const method of ["PUT", "POST"]) {
    const answer = await api.send(method, "/v1/operator/raft/transfer-leadership?id=b");
    assert.equal(((await answer.json()) as { To: { ID: string } }).To.ID, "b");
  }
});

test("the group's configuration waits for a leader, but for ?stale", async () => {
  const catchUp = async () => {
    throw new EndpointError(500, "No cluster leader");
  };
  const raftConfiguration = () => ({ Index: 3, Servers: [] });
  await using api = await startApi({ endpoints: { operator: { raftConfiguration }, status: { catchUp } } });
  const refused = await api.get("/v1/operator/raft/configuration");
  assert.deepEqual([refused.status, await refused.text()], [500, "No cluster leader"]);
  assert.deepEqual(await (await api.get("/v1/operator/raft/configuration?stale")).json(), {
    Index: 3,
    Servers: [],
  });
});

test("health has the code 429 where the servers are not well", async () => {
  const health: OperatorHealthReply = { FailureTolerance: 0, Healthy: true, Servers: [] };
  await using api = await startApi({ endpoints: { operator: { autopilotHealth: async () => health } } });
  const well = await api.get("/v1/operator/autopilot/health");
  assert.deepEqual([well.status, await well.json()], [200, health]);
  health.Healthy = false;
  const ill = await api.get("/v1/operator/autopilot/health");
  assert.deepEqual([ill.status, await ill.json()], [429, health]);
});

test("autopilot's settings are written, with cas only where they are at that index", async () => {
  const asked: unknown[] = [];
  const setAutopilotConfiguration = async (config: unknown, cas?: number) => {
    asked.push([config, cas]);
    return { Index: 9, Updated: cas === undefined || cas === 4 };
  };
  await using api = await startApi({ endpoints: { operator: { setAutopilotConfiguration } } });
  const path = "/v1/operator/autopilot/configuration";
  const answer = await api.send("PUT", path, { MaxTrailingLogs: 9 });
  assert.deepEqual([await answer.json(), answer.headers.get("x-nomad-index")], [true, "9"]);
  assert.equal(await (await api.send("PUT", `${path}?cas=4`, {})).json(), true);
  assert.equal(await (await api.send("POST", `${path}?cas=5`, {})).json(), false);
  assert.equal((await api.send("PUT", `${path}?cas=x`, {})).status, 400);
  assert.equal((await api.send("PUT", path, "[")).status, 400);
  assert.deepEqual(asked, [
    [{ MaxTrailingLogs: 9 }, undefined],
    [{}, 4],
    [{}, 5],
  ]);
});

const ARCHIVE = randomBytes(2_000_000);
const SHA256 = createHash("sha256").update(ARCHIVE).digest("base64");

test("a snapshot is streamed with its length, index and digest; it is for nobody's cache", async () => {
  const asked: boolean[] = [];
  const save = async ({ stale }: { readonly stale: boolean }) => {
    asked.push(stale);
    return { index: 77, term: 3, size: ARCHIVE.length, sha256: SHA256, archive: Readable.from([ARCHIVE]) };
  };
  await using api = await startApi({ endpoints: { snapshots: { save } } });
  const answer = await api.get("/v1/operator/snapshot");
  assert.deepEqual(
    ["content-type", "content-length", "digest", "x-nomad-index", "cache-control", "content-encoding"].map(
      (name) => answer.headers.get(name),
    ),
    ["application/x-gzip", String(ARCHIVE.length), `sha-256=${SHA256}`, "77", "no-store", null],
  );
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), ARCHIVE);
  await (await api.get("/v1/operator/snapshot?stale")).arrayBuffer();
  assert.deepEqual(asked, [false, true]);
});

test("a snapshot that can't be saved is answered with why, and one that breaks off is cut short", async () => {
  let archive: Readable | undefined;
  const save = async () => {
    if (archive === undefined) throw new EndpointError(507, "no room for a snapshot");
    return { index: 77, term: 3, size: ARCHIVE.length, sha256: SHA256, archive };
  };
  await using api = await startApi({ endpoints: { snapshots: { save } } });
  const refused = await api.get("/v1/operator/snapshot");
  assert.deepEqual([refused.status, await refused.text()], [507, "no room for a snapshot"]);
  archive = Readable.from(
    (async function* () {
      yield ARCHIVE.subarray(0, 1_000_000);
      throw new Error("the disk broke");
    })(),
  );
  await assert.rejects(api.get("/v1/operator/snapshot").then((answer) => answer.arrayBuffer()));
});

test("a client that goes away has the snapshot closed", async () => {
  const archive = new Readable({ read() {} });
  archive.push(ARCHIVE.subarray(0, 1_000));
  const save = async () => ({ index: 1, term: 1, size: ARCHIVE.length, sha256: SHA256, archive });
  await using api = await startApi({ endpoints: { snapshots: { save } } });
  const abort = new AbortController();
  const answer = await api.get("/v1/operator/snapshot", { signal: abort.signal });
  abort.abort();
  await assert.rejects(answer.arrayBuffer());
  await until("it is closed", () => archive.destroyed);
});

/** An API whose restore reads everything; `limit` makes it refuse after so many bytes. */
async function restoring(limit = Number.POSITIVE_INFINITY): Promise<{ api: Api; received: Buffer[] }> {
  const received: Buffer[] = [];
  let bytes = 0;
  const restore = async (archive: AsyncIterable<Uint8Array>) => {
    for await (const chunk of archive) {
      received.push(Buffer.from(chunk));
      bytes += chunk.length;
      if (bytes > limit) throw new EndpointError(400, "the snapshot archive is refused");
    }
    return { Index: 123 };
  };
  const api = await startApi({
    endpoints: { snapshots: { restore } },
    // Far below the archive: it is no body that is held in memory.
    plugin: { max_body_bytes: 1024 },
  });
  return { api, received };
}

test("an archive to restore is taken as it comes, however large, whatever its content type", async () => {
  const { api, received } = await restoring();
  await using _ = api;
  for (const type of [undefined, "application/json", "application/x-gzip"]) {
    received.length = 0;
    const answer = await fetch(`${api.url}/v1/operator/snapshot`, {
      method: "PUT",
      body: new Uint8Array(ARCHIVE),
      ...(type === undefined ? {} : { headers: { "Content-Type": type } }),
    });
    assert.deepEqual([answer.status, await answer.text()], [200, ""]);
    assert.equal(answer.headers.get("x-nomad-index"), "123");
    assert.deepEqual(Buffer.concat(received), ARCHIVE);
  }
  assert.equal(
    (await api.send("PUT", "/v1/jobs", { Job: { ID: "x".repeat(2_000) } })).status,
    413,
    "others are bounded",
  );
});

test("a refusal comes through while the archive is still being sent", async () => {
  const { api } = await restoring(10_000);
  await using _ = api;
  const [status, text] = await new Promise<[number | undefined, string]>((resolve, reject) => {
    const outgoing = httpRequest(`${api.url}/v1/operator/snapshot`, { method: "PUT" }, (answer) => {
      answer.setEncoding("utf8");
      answer.toArray().then((parts) => resolve([answer.statusCode, parts.join("")]), reject);
    });
    outgoing.once("error", reject);
    // Never ended: who waits for the end of it waits for ever.
    outgoing.write(ARCHIVE.subarray(0, 100_000));
  });
  assert.deepEqual([status, text], [400, "the snapshot archive is refused"]);
});

test("no body is no archive, and no server has no snapshots", async () => {
  const { api, received } = await restoring();
  await using _ = api;
  assert.equal((await api.send("PUT", "/v1/operator/snapshot")).status, 200);
  assert.equal(received.length, 0, "the endpoint refuses what is empty");
  await using client = await startApi({ clientOnly: true });
  for (const path of [
    "/v1/operator/snapshot",
    "/v1/operator/autopilot/health",
    "/v1/operator/raft/configuration",
  ]) {
    const answer = await client.get(path);
    assert.equal(answer.status, 500);
    assert.match(await answer.text(), /server is not enabled on this agent/);
  }
});
