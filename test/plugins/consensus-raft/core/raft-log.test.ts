import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { RaftLog } from "../../../../plugins/consensus-raft/core/raft-log.js";
import type { Entry } from "../../../../plugins/consensus-raft/core/types.js";

/** A disk that has exactly what the log calls stable. */
class Disk {
  readonly entries = new Map<number, Entry>();
  reads = 0;

  read(from: number, to: number, maxBytes: number): Entry[] {
    this.reads++;
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to; index++) {
      const entry = this.entries.get(index)!;
      bytes += entry.data.length;
      if (found.length > 0 && bytes > maxBytes) break;
      found.push(entry);
    }
    return found;
  }
}

type Step =
  | { readonly do: "append"; readonly count: number; readonly size: number; readonly newTerm: boolean }
  | { readonly do: "persist" | "release" | "reset" }
  | { readonly do: "truncate" | "compact" | "slice"; readonly part: number; readonly maxBytes: number };

const part = fc.double({ min: 0, max: 1, noNaN: true });
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      count: fc.integer({ min: 1, max: 400 }),
      size: fc.integer({ min: 0, max: 20 }),
      newTerm: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("persist" as const, "release" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reset" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("truncate" as const, "compact" as const, "slice" as const, "slice" as const),
      part,
      maxBytes: fc.integer({ min: 0, max: 5000 }),
    }),
  },
);

describe("RaftLog", () => {
  it("gives the same with most of it on the disk as with all of it in memory", () => {
    let evictions = 0;
    fc.assert(
      fc.property(fc.array(steps, { minLength: 5, maxLength: 40 }), (list) => {
        const disk = new Disk();
        const log = new RaftLog({ index: 0, term: 0 }, disk);
        const all = new RaftLog({ index: 0, term: 0 });
        let term = 1;
        for (const step of list) {
          const { baseIndex, lastIndex } = all;
          switch (step.do) {
            case "append":
              if (step.newTerm) term++;
              for (let made = 0; made < step.count; made++) {
                const index = all.lastIndex + 1;
                const entry = { index, term, kind: "command" as const, data: new Uint8Array(step.size) };
                log.append(entry);
                all.append(entry);
              }
              break;
            case "persist": {
              const handed = log.handOver();
              assert.deepEqual(handed, all.handOver());
              for (const entry of handed) disk.entries.set(entry.index, entry);
              const last = handed.at(-1);
              if (last === undefined) break;
              log.markStable(last.index, last.term);
              all.markStable(last.index, last.term);
              break;
            }
            case "release":
              log.release(all.stable);
              break;
            case "truncate": {
              const from = baseIndex + 1 + Math.floor(step.part * (lastIndex - baseIndex));
              log.truncateFrom(from);
              all.truncateFrom(from);
              break;
            }
            case "compact": {
              const to = baseIndex + Math.floor(step.part * (all.stable - baseIndex));
              assert.equal(
                log.compactionPoint(to, 50, step.maxBytes),
                all.compactionPoint(to, 50, step.maxBytes),
              );
              log.compact(to);
              all.compact(to);
              for (const index of disk.entries.keys()) if (index <= to) disk.entries.delete(index);
              break;
            }
            case "slice": {
              const from = baseIndex + 1 + Math.floor(step.part * (lastIndex - baseIndex));
              assert.deepEqual(
                log.slice(from, lastIndex, step.maxBytes).map(({ index }) => index),
                all.slice(from, lastIndex, step.maxBytes).map(({ index }) => index),
              );
              break;
            }
            case "reset":
              log.reset({ index: lastIndex + 5, term });
              all.reset({ index: lastIndex + 5, term });
              break;
          }
          if (log.cached < all.cached) evictions++;
          assert.deepEqual(
            [log.baseIndex, log.lastIndex, log.lastTerm, log.stable, log.hasUnhanded],
            [all.baseIndex, all.lastIndex, all.lastTerm, all.stable, all.hasUnhanded],
          );
          for (let index = all.baseIndex - 1; index <= all.lastIndex + 1; index += 37)
            assert.equal(log.term(index), all.term(index));
        }
      }),
      { numRuns: 200 },
    );
    assert.ok(evictions > 0, "some entries left the memory");
  });

  it("keeps the newest 512 entries and those that are not on the disk yet", () => {
    const disk = new Disk();
    const log = new RaftLog({ index: 0, term: 0 }, disk);
    for (let index = 1; index <= 5000; index++)
      log.append({ index, term: 1, kind: "command", data: new Uint8Array(1) });
    assert.equal(log.cached, 5000);
    for (const entry of log.handOver()) disk.entries.set(entry.index, entry);
    log.markStable(5000, 1);
    log.release(5000);
    assert.equal(log.cached, 512);
    assert.equal(log.slice(4489, 5000).length, 512);
    assert.equal(disk.reads, 0);
    assert.equal(log.slice(1, 5000).length, 5000);
    assert.ok(disk.reads > 0);
  });

  it("notices a disk that gives back something else", () => {
    const disk = new Disk();
    const log = new RaftLog({ index: 0, term: 0 }, disk);
    for (let index = 1; index <= 1000; index++)
      log.append({ index, term: 1, kind: "command", data: new Uint8Array(1) });
    for (const entry of log.handOver()) disk.entries.set(entry.index, { ...entry, term: 2 });
    log.markStable(1000, 1);
    log.release(1000);
    assert.throws(() => log.slice(1, 10), /entry 1 is not on the disk as it was written/);
  });
});
