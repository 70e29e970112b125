/** A server's state saved, changed, and put back: what was in memory of it must follow. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createWriteStream, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, type TestContext, test } from "node:test";
import { EndpointError, type SavedSnapshot } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { type ArchiveMeta, readArchive, writeArchive } from "../../../../core/state/archive/index.js";
import { LAYOUTS, SCHEMA_VERSION } from "../../../../core/state/read/schema.js";
import { BenchServer, paperJob, paperNode } from "../bench-server.js";
import { registration } from "../paper-agent.js";

const forever = new AbortController().signal;

async function started(t: TestContext): Promise<BenchServer> {
  const bench = new BenchServer();
  t.after(() => bench.stop());
  await bench.start();
  return bench;
}

async function bytesOf({ archive }: SavedSnapshot): Promise<Buffer> {
  return Buffer.concat(await archive.toArray());
}

const save = async (bench: BenchServer): Promise<Buffer> =>
  bytesOf(await bench.server.endpoints.snapshots.save({ stale: false }, forever));

const restore = (bench: BenchServer, bytes: Uint8Array): Promise<{ readonly Index: number }> =>
  bench.server.endpoints.snapshots.restore(Readable.from([bytes]), forever);

/** Everything that is stored; but for where in the log it is in force. */
function contents(bench: BenchServer): Record<string, unknown[]> {
  bench.state.env.resetReadTxn();
  return Object.fromEntries(
    Object.keys(LAYOUTS)
      .filter((table) => table !== "meta")
      .map((table) => [
        table,
        [...bench.state.tables[table as keyof typeof LAYOUTS].getRange({ start: Buffer.from([0]) as never })],
      ]),
  );
}

const leftovers = (bench: BenchServer): string[] => readdirSync(join(bench.folder, "archives"));

async function settled(bench: BenchServer, job: string): Promise<void> {
  await eventually(`evaluations of ${job} are over`, () => {
    using snapshot = bench.state.snapshot();
    const found = snapshot.evaluationsByJob("default", job);
    return found.length > 0 && found.every(({ Status }) => Status === "complete" || Status === "blocked");
  });
}

describe("a snapshot for an operator", () => {
  test("holds the state at its index, says what it is, and leaves nothing behind", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
    await eventually("two placed", () => bench.live("web").length === 2);
    await settled(bench, "web");
    const saved = await bench.server.endpoints.snapshots.save({ stale: false }, forever);
    assert.equal(saved.index, bench.state.index());
    const bytes = await bytesOf(saved);
    assert.equal(bytes.length, saved.size);
    assert.equal(createHash("sha256").update(bytes).digest("base64"), saved.sha256);
    const meta = await readArchive(Readable.from([bytes]), () => undefined);
    assert.deepEqual(
      { Index: meta.Index, Term: meta.Term, Region: meta.Region, Schema: meta.Schema, Drover: meta.Drover },
      { Index: saved.index, Term: saved.term, Region: "global", Schema: SCHEMA_VERSION, Drover: "0.0.0" },
    );
    assert.deepEqual(meta.Servers, [{ ID: bench.consensus.id, Address: "127.0.0.1:4647", Voter: true }]);
    const rows = Object.fromEntries(meta.Tables.map(({ Name, Rows }) => [Name, Rows]));
    assert.deepEqual([rows.jobs, rows.nodes, rows.allocs], [1, 1, 2]);
    await eventually("no folder is left", () => leftovers(bench).length === 0);
  });

  test("restored gives back jobs and allocations, and the leader goes on with them", async (t) => {
    const bench = await started(t);
    const node = paperNode();
    await bench.register(node);
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
    // More than fits: the rest waits blocked.
    await bench.server.endpoints.jobs.register(registration(paperJob("big", 3, 3_000)));
    await eventually("two placed", () => bench.live("web").length === 2);
    await eventually("one placed", () => bench.live("big").length === 1);
    await settled(bench, "web");
    await settled(bench, "big");
    const archive = await save(bench);
    const before = contents(bench);
    const [kept] = bench.live("web");

    await bench.server.endpoints.jobs.deregister({ namespace: "default", jobId: "web", purge: true });
    await bench.server.endpoints.jobs.register(registration(paperJob("later", 1)));
    const late = paperNode();
    await bench.register(late);
    await eventually("the later job runs", () => bench.live("later").length === 1);
    await eventually("web is stopped", () => bench.live("web").length === 0);
    for (const job of ["later", "big"]) await settled(bench, job);
    const last = bench.state.index();

    const { Index } = await restore(bench, archive);
    assert.ok(Index > last, "the log goes on");
    // The leader tries what is blocked, and then the state is what it was but for that.
    await settled(bench, "big");
    assert.deepEqual(contents(bench).jobs, before.jobs);
    assert.deepEqual(contents(bench).nodes, before.nodes);
    assert.ok(bench.live("web").some(({ ID }) => ID === kept!.ID));
    assert.equal(bench.live("web").length, 2);
    assert.equal(bench.live("later").length, 0);
    await eventually("the node is told anew", () => {
      const assigned = bench.transport.assigned.get(node.ID);
      return assigned?.get(kept!.ID)?.AllocModifyIndex === Index && assigned.size === 3;
    });
    // Trackers are there again: capacity goes to what was blocked, and new jobs are placed.
    const spare = paperNode();
    await bench.register(spare);
    await eventually("the blocked rest is placed", () => bench.live("big").length >= 2);
    await bench.server.endpoints.jobs.register(registration(paperJob("after", 1)));
    await eventually("a new job is placed", () => bench.live("after").length === 1);
    assert.deepEqual(leftovers(bench), []);
  });

  test("whose archive is refused changes nothing", async (t) => {
    const bench = await started(t);
    await bench.server.endpoints.jobs.register(registration(paperJob("mine", 0)));
    await settled(bench, "mine");
    const good = await save(bench);
    const before = contents(bench);
    const index = bench.state.index();
    const unpacked = join(bench.folder, "unpacked");
    const remade = async (changes: Partial<ArchiveMeta>): Promise<Buffer> => {
      mkdirSync(unpacked);
      const meta = await readArchive(Readable.from([good]), () => unpacked);
      const path = join(bench.folder, "remade");
      await writeArchive(unpacked, { ...meta, ...changes }, createWriteStream(path));
      const bytes = readFileSync(path);
      rmSync(unpacked, { recursive: true });
      return bytes;
    };
    const flipped = Buffer.from(good);
    flipped[Math.floor(good.length / 2)]! ^= 4;
    const attempts: [bytes: Buffer, expected: RegExp][] = [
      [flipped, /refused, and nothing was changed/],
      [good.subarray(0, good.length - 1), /refused, and nothing was changed/],
      [Buffer.from("hello"), /no snapshot archive of Drover/],
      [Buffer.alloc(0), /no snapshot archive of Drover/],
      [await remade({ Region: "mars" }), /it is of region "mars", and these servers are of "global"/],
      [
        await remade({ Schema: SCHEMA_VERSION + 1, Drover: "9.0.0" }),
        /schema version \d+, written by Drover 9\.0\.0.*upgrade the servers first/,
      ],
      [await remade({ Index: index + 1 }), /its state is at index \d+, and meta.json says \d+/],
    ];
    for (const [bytes, expected] of attempts) {
      await assert.rejects(restore(bench, bytes), (error: Error) => {
        assert.ok(error instanceof EndpointError, String(error));
        assert.equal(error.status, 400);
        assert.match(error.message, expected);
        assert.doesNotMatch(error.message, new RegExp(bench.folder));
        return true;
      });
    }
    assert.equal(bench.state.index(), index);
    assert.deepEqual(contents(bench), before);
    assert.deepEqual(leftovers(bench), []);
    await restore(bench, good);
  });

  test("that nobody reads on is given up by its reader, and its folder goes", async (t) => {
    const bench = await started(t);
    const saves = await Promise.all(
      [1, 2].map(() => bench.server.endpoints.snapshots.save({ stale: true }, forever)),
    );
    await assert.rejects(
      bench.server.endpoints.snapshots.save({ stale: true }, forever),
      /2 snapshots are being saved already/,
    );
    for (const { archive } of saves) archive.destroy();
    await eventually("their folders are gone", () => leftovers(bench).length === 0);
    assert.ok((await save(bench)).length > 0);
    const gone = new AbortController();
    gone.abort();
    const abandoned = await bench.server.endpoints.snapshots.save({ stale: true }, gone.signal);
    assert.ok(abandoned.archive.destroyed);
    await eventually("its folder is gone too", () => leftovers(bench).length === 0);
  });

  test("is restored one at a time", async (t) => {
    const bench = await started(t);
    const archive = await save(bench);
    let send: () => void = () => undefined;
    const told = new Promise<void>((resolve) => {
      send = resolve;
    });
    async function* slowly(): AsyncGenerator<Buffer> {
      yield archive.subarray(0, 100);
      await told;
      yield archive.subarray(100);
    }
    const first = bench.server.endpoints.snapshots.restore(slowly(), forever);
    await eventually("it is under way", () => leftovers(bench).length === 1);
    await assert.rejects(restore(bench, archive), /is being restored already/);
    send();
    await first;
    assert.deepEqual(leftovers(bench), []);
  });
});
