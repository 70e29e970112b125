/** `operator snapshot` against the HTTP API of a real server. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { EndpointError } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { type Api, type ApiOptions, startApi } from "../../plugins/http-api/harness.js";
import { BenchServer, paperJob, paperNode } from "../server/bench-server.js";
import { registration } from "../server/paper-agent.js";
import { FakeAgent, type Result, runCommand } from "./run-command.js";

interface Fixture {
  readonly bench: BenchServer;
  readonly api: Api;
  readonly folder: string;
  readonly told: string[];
  run(...argv: string[]): Promise<Result>;
}

async function fixture(t: TestContext): Promise<Fixture> {
  const bench = new BenchServer();
  const folder = mkdtempSync(join(tmpdir(), "drover-snap-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await bench.start();
  const endpoints = bench.server.endpoints as unknown as ApiOptions["endpoints"];
  const api = await startApi({ reader: bench.state, endpoints });
  t.after(async () => {
    await api[Symbol.asyncDispose]();
    await bench.stop();
  });
  const told: string[] = [];
  const run = (...argv: string[]) =>
    runCommand(argv, { NOMAD_ADDR: api.url }, { progress: (text) => void told.push(text) });
  return { bench, api, folder, told, run };
}

test("a state is saved, inspected without a server, and restored", async (t) => {
  const { bench, folder, told, run } = await fixture(t);
  await bench.register(paperNode());
  await bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
  await eventually("two placed", () => bench.live("web").length === 2);
  const file = join(folder, "backup.snap");

  const saved = await run("operator", "snapshot", "save", file);
  assert.equal(saved.code, 0, saved.err);
  const [first, second] = saved.out.split("\n");
  assert.equal(first, `State file written to ${file}`);
  assert.match(second!, /^It holds the state of region "global" at index \d+\.$/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ["backup.snap"], "nothing else is left");
  assert.ok(told.some((text) => /saved$/.test(text)));
  assert.equal(told.at(-1), "", "and nothing of it stays on the terminal");

  const inspected = await runCommand(["operator", "snapshot", "inspect", file], {});
  assert.equal(inspected.code, 0, inspected.err);
  assert.match(
    inspected.out,
    /^Created = 20\d\d-.*\nID {6}= 1-(\d+)-\d+\nSize {4}= \d.*B\nIndex {3}= \1\nTerm {4}= 1\nVersion = 1\nRegion {2}= global\nDrover {2}= 0\.0\.0\nServers = 1\n\nType +Count +Size\n/,
  );
  assert.match(inspected.out, /\njobs +1 +4\.0 KiB\n/);
  assert.match(inspected.out, /\nallocs +2 +4\.0 KiB\n/);
  assert.match(inspected.out, /\nTotal +\d+ +\d+ KiB\n$/);
  const json = JSON.parse((await run("operator", "snapshot", "inspect", "-json", file)).out) as Record<
    string,
    unknown
  >;
  assert.equal(json.Size, statSync(file).size);
  assert.equal(json.Version, 1);

  await bench.server.endpoints.jobs.deregister({ namespace: "default", jobId: "web", purge: true });
  await eventually("web is stopped", () => bench.live("web").length === 0);
  const restored = await run("operator", "snapshot", "restore", file);
  assert.equal(restored.code, 0, restored.err);
  assert.match(
    restored.out,
    /^Snapshot Restored\nThe state of index \d+, saved 20.*, is in force at index \d+\.\n$/,
  );
  assert.equal(bench.live("web").length, 2);
});

test("a name is made of the time where none is given, in the folder where the command runs", async (t) => {
  const { folder, run } = await fixture(t);
  const before = process.cwd();
  process.chdir(folder);
  t.after(() => process.chdir(before));
  const saved = await run("operator", "snapshot", "save", "-stale");
  assert.equal(saved.code, 0, saved.err);
  assert.deepEqual(readdirSync(folder), ["nomad-state-20261123-144952.snap"]);
});

test("a file that is there is left alone, and of a save that fails nothing is left", async (t) => {
  const { folder, run } = await fixture(t);
  const file = join(folder, "mine.snap");
  writeFileSync(file, "mine");
  const refused = await run("operator", "snapshot", "save", file);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /mine\.snap is there already: name another file/);
  assert.equal(readFileSync(file, "utf8"), "mine");

  const archive = Buffer.from("not what the digest says");
  await using liar = await FakeAgent.start(() => ({
    headers: { Digest: "sha-256=AAAA", "Content-Type": "application/x-gzip" },
    body: archive,
  }));
  const wrong = await liar.run("operator", "snapshot", "save", join(folder, "a.snap"));
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /Error saving snapshot: what arrived is not what was sent: its digest is sha-256=/);
  await using stranger = await FakeAgent.start(() => ({ body: archive }));
  const noArchive = await stranger.run("operator", "snapshot", "save", join(folder, "b.snap"));
  assert.match(noArchive.err, /Error verifying snapshot: .*no snapshot archive of Drover/);
  const cut = await FakeAgent.start((_, response) => {
    response.writeHead(200, { "Content-Length": "1000" });
    response.write("half");
    setImmediate(() => response.destroy());
    return undefined;
  });
  const halved = await cut.run("operator", "snapshot", "save", join(folder, "c.snap"));
  await cut[Symbol.asyncDispose]();
  assert.match(halved.err, /Error saving snapshot: .*ended the stream early/);
  const nowhere = await run("operator", "snapshot", "save", join(folder, "no-such-folder", "d.snap"));
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.err, /Error saving snapshot: ENOENT/);
  assert.deepEqual(readdirSync(folder), ["mine.snap"]);
});

test("a file that is no whole snapshot is refused before it is sent, and by the server", async (t) => {
  const { bench, api, folder, run } = await fixture(t);
  const file = join(folder, "good.snap");
  await run("operator", "snapshot", "save", file);
  const good = readFileSync(file);
  const index = bench.state.index();
  const bad = join(folder, "bad.snap");
  for (const bytes of [good.subarray(0, good.length - 3), Buffer.from("hello"), Buffer.alloc(0)]) {
    writeFileSync(bad, bytes);
    for (const command of ["inspect", "restore"]) {
      const { code, err } = await run("operator", "snapshot", command, bad);
      assert.equal(code, 1);
      assert.match(err, /^Error verifying snapshot .*bad\.snap: /);
    }
    const answer = await fetch(`${api.url}/v1/operator/snapshot`, {
      method: "PUT",
      body: new Uint8Array(bytes),
    });
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /^the snapshot archive is refused, and nothing was changed: /);
  }
  const missing = await run("operator", "snapshot", "restore", join(folder, "missing.snap"));
  assert.equal(missing.code, 1);
  assert.match(missing.err, /Error opening snapshot file: ENOENT/);
  assert.equal(bench.state.index(), index, "the state is untouched");
});

test("what the server says of a restore is what the user reads", async (t) => {
  const { folder, run } = await fixture(t);
  const file = join(folder, "good.snap");
  await run("operator", "snapshot", "save", file);
  const restore = async (archive: AsyncIterable<Uint8Array>) => {
    await Readable.from(archive).take(1).toArray();
    throw new EndpointError(429, "a snapshot is being restored already");
  };
  await using busy = await startApi({ endpoints: { snapshots: { restore } } });
  const { code, err } = await runCommand(["operator", "snapshot", "restore", file], { NOMAD_ADDR: busy.url });
  assert.equal(code, 1);
  assert.match(
    err,
    /Error restoring snapshot: Unexpected response code: 429 \(a snapshot is being restored already\)/,
  );
});
