import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Entry, SnapshotMeta } from "../../../plugins/consensus-raft/core/types.js";
import { LmdbLogStore } from "../../../plugins/consensus-raft/lmdb-log-store.js";
import { EMPTY_BASE } from "../../../plugins/consensus-raft/log-store.js";
import { encode, temporaryFolder } from "./support.js";

const FIRST: SnapshotMeta = {
  index: 0,
  term: 0,
  configuration: { servers: [{ id: "a", address: "127.0.0.1:4647", voter: true }] },
};
const entry = (index: number, text: string, term = 1): Entry => ({
  index,
  term,
  kind: "command",
  data: encode(text),
});
const range = (from: number, to: number, text = "command") =>
  Array.from({ length: to - from + 1 }, (_, offset) => entry(from + offset, `${text} ${from + offset}`));

describe("LmdbLogStore", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let store: LmdbLogStore;

  const open = async () => {
    store = new LmdbLogStore({ folder, minFreeBytes: 0 });
    const { hardState, base, last, entries } = await store.open("a");
    assert.equal(last, base.index + [...entries].length);
    return { hardState, base, entries: [...entries] };
  };
  const reopen = async () => {
    await store.close();
    return open();
  };
  const append = (...entries: Entry[]) => store.write({ hardState: null, entries, base: null });

  beforeEach(async () => {
    ({ path: folder, remove } = await temporaryFolder());
    await open();
  });
  afterEach(async () => {
    await store.close();
    await remove();
  });

  it("gives back hard state and entries as they were written, and lets only the owner read them", async () => {
    const hardState = { term: 3, vote: "a", commit: 2 };
    const entries: Entry[] = [
      { index: 1, term: 1, kind: "noop", data: encode("") },
      entry(2, "x".repeat(100_000)),
      { index: 3, term: 3, kind: "configuration", data: encode("{}") },
    ];
    await store.write({ hardState, entries, base: null });
    assert.deepEqual(await reopen(), { hardState, entries, base: EMPTY_BASE });
    assert.equal((await stat(join(folder, "data.mdb"))).mode & 0o077, 0);
  });

  it("replaces the suffix from the first new entry on", async () => {
    await append(...range(1, 10, "old"));
    await append(entry(5, "new", 2), entry(6, "new", 2));
    const { entries } = await reopen();
    assert.deepEqual(entries, [...range(1, 4, "old"), entry(5, "new", 2), entry(6, "new", 2)]);
  });

  it("drops the prefix up to a new base, however long, and goes on after it", async () => {
    await append(...range(1, 5000));
    const base = { ...FIRST, index: 4000, term: 1 };
    await store.write({ hardState: null, entries: [], base });
    assert.deepEqual(await reopen(), {
      hardState: { term: 0, vote: null, commit: 0 },
      base,
      entries: range(4001, 5000),
    });
    for (let index = 5001; index <= 5010; index++) await append(entry(index, `command ${index}`));
    assert.deepEqual((await reopen()).entries, range(4001, 5010));
  });

  it("names file and entry when a record is damaged", async () => {
    await append(...range(1, 20, "a recognisable text of some length"));
    await store.close();
    const file = join(folder, "data.mdb");
    const data = await readFile(file);
    const found = data.indexOf("a recognisable text of some length 17");
    assert.ok(found > 0);
    data.write("b", found);
    await writeFile(file, data);
    await assert.rejects(open(), (error: Error & { code: string }) => {
      assert.equal(error.code, "ERR_LOG_DAMAGED");
      assert.match(error.message, /data\.mdb: entry 17 is damaged: its checksum is/);
      return true;
    });
  });

  it("reuses the space of compacted entries instead of growing for ever", async () => {
    let sizeBefore = 0;
    for (let round = 0; round < 12; round++) {
      for (let part = 0; part < 4; part++) {
        const from = round * 2000 + part * 500 + 1;
        await append(...range(from, from + 499, "x".repeat(500)));
      }
      await store.write({
        hardState: null,
        entries: [],
        base: { ...FIRST, index: (round + 1) * 2000 - 10, term: 1 },
      });
      if (round === 5) sizeBefore = (await stat(join(folder, "data.mdb"))).size;
    }
    assert.ok((await stat(join(folder, "data.mdb"))).size <= 2 * sizeBefore);
  });
});
