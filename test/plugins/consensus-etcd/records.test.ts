import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { compactionPoint, TrailingSizes } from "../../../plugins/consensus-etcd/compaction.js";
import { Keys } from "../../../plugins/consensus-etcd/keys.js";
import {
  type Batch,
  decodeBatch,
  decodePosition,
  encodeBatch,
  encodePosition,
} from "../../../plugins/consensus-etcd/records.js";

const index = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - 10_000 });

describe("keys and records in etcd", () => {
  const keys = new Keys("/drover/", "eu/west");

  it("sort batches by their last index, and keep each cluster's keys apart", () => {
    assert.equal(keys.cluster, "/drover/eu%2Fwest/cluster");
    fc.assert(
      fc.property(index, index, (a, b) => {
        assert.equal(keys.batch(a) < keys.batch(b), a < b);
        assert.equal(keys.lastOf(keys.batch(a)), a);
        const within = (key: string, { start, end }: { start: string; end: string }) =>
          key >= start && key < end;
        assert.equal(within(keys.batch(a), keys.logFrom(b)), a >= b);
        assert.equal(within(keys.batch(a), keys.logUpTo(b)), a <= b);
        assert.equal(within(keys.part(a, 3), keys.partsUpTo(b)), a <= b);
        assert.equal(within(keys.part(a, 3), keys.partsFrom(b)), a >= b);
        assert.equal(within(keys.part(a, 3), keys.parts(b)), a === b);
        for (const key of [
          keys.batch(a),
          keys.part(a, 1),
          keys.tail,
          keys.base,
          keys.leader,
          keys.server("x"),
        ]) {
          assert.ok(within(key, keys.root));
          assert.equal(within(key, keys.control), key === keys.leader || key === keys.server("x"));
        }
      }),
    );
  });

  it("give batches and positions back as they were", () => {
    const batch = fc.oneof(
      fc.tuple(index, index, fc.array(fc.uint8Array({ maxLength: 64 }), { minLength: 1, maxLength: 20 })).map(
        ([term, first, entries]): Batch => ({
          type: "entries",
          term,
          first,
          last: first + entries.length - 1,
          entries,
        }),
      ),
      fc.tuple(index, index).map(
        ([term, first]): Batch => ({
          type: "parts",
          term,
          first,
          last: first,
          parts: { count: 3, bytes: 7, sha256: "ab" },
        }),
      ),
      fc.tuple(index, index).map(
        ([term, first]): Batch => ({
          type: "restore",
          term,
          first,
          last: first,
          restore: { id: crypto.randomUUID(), checksum: "c" },
        }),
      ),
    );
    fc.assert(
      fc.property(batch, (one) => {
        const back = decodeBatch("key", one.last, encodeBatch(one));
        const plain = (value: Batch) =>
          value.type === "entries" ? { ...value, entries: value.entries.map((data) => [...data]) } : value;
        assert.deepEqual(plain(back), plain(one));
        const position = { index: one.first, term: one.term };
        assert.deepEqual(decodePosition("key", encodePosition(position)), position);
      }),
    );
  });

  it("are refused with the key's name when they are damaged, or of a newer format", () => {
    const good = encodeBatch({
      type: "entries",
      term: 1,
      first: 5,
      last: 6,
      entries: [new Uint8Array(1), new Uint8Array(2)],
    });
    assert.throws(
      () => decodeBatch("the/key", 9, good),
      /the\/key in etcd holds 2 entries from 5 on and is named 9/,
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (noise) => {
        assert.throws(() => decodeBatch("the/key", 6, Buffer.from(noise)), /the\/key in etcd/);
      }),
    );
    const newer = Buffer.from(good);
    newer[newer.indexOf("f") + 1] = 2;
    assert.throws(() => decodeBatch("the/key", 6, newer), /has format 2, and this version reads 1/);
    assert.throws(() => decodePosition("the/key", Buffer.from("5")), /the\/key in etcd is not "INDEX TERM"/);
  });
});

describe("the point that the log is compacted to", () => {
  it("leaves what less than a majority has in snapshots, and the trailing entries", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 7 }),
        fc.integer({ min: 0, max: 100 }),
        fc.integer({ min: 0, max: 2000 }),
        fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 300, maxLength: 300 }),
        (snapshots, trailing_logs, trailing_bytes, bytes) => {
          const sizes = new TrailingSizes();
          for (const [position, size] of bytes.entries()) sizes.note(position + 1, size);
          const servers = snapshots.map((snapshot) => ({ snapshot }));
          const point = compactionPoint(servers, { trailing_logs, trailing_bytes }, sizes);
          const holders = snapshots.filter((snapshot) => snapshot >= point).length;
          assert.ok(holders > snapshots.length / 2, "a majority holds everything that goes");
          const held = [...snapshots].sort((a, b) => b - a)[Math.floor(snapshots.length / 2)]!;
          const kept = bytes.slice(point, held);
          const sum = kept.reduce((total, size) => total + size, 0);
          assert.ok(
            kept.length <= trailing_logs && sum <= trailing_bytes,
            "no more is kept than was asked for",
          );
          const more = sum + (bytes[point - 1] ?? 0);
          const canKeepMore = point > 0 && kept.length < trailing_logs && more <= trailing_bytes;
          assert.ok(!canKeepMore, "no less is kept either");
        },
      ),
    );
  });
});
