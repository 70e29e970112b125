import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Duplex, duplexPair, Transform } from "node:stream";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  encodeMeta,
  makeCopy,
  parseMeta,
  readMeta,
  receiveCopy,
  resumeOf,
  sealCopy,
  sendCopy,
  stateOf,
  writeFrame,
} from "@drover/plugin-sdk/consensus";
import { Packr } from "msgpackr";
import { temporaryFolder } from "../../plugins/consensus-raft/support.js";

const MEBIBYTE = 1024 * 1024;
const OPTIONS = { free: () => Number.POSITIVE_INFINITY, progressed: () => undefined };

describe("transfer of a copy of the state", () => {
  let root: string;
  let remove: () => Promise<void>;
  let source: string;
  let target: string;
  const files = new Map([
    ["data", Buffer.alloc(3 * MEBIBYTE, "state")],
    ["empty", Buffer.alloc(0)],
    ["inner/manifest.json", Buffer.from("{}")],
  ]);

  beforeEach(async () => {
    ({ path: root, remove } = await temporaryFolder());
    source = join(root, "source");
    target = join(root, "target");
    await makeCopy(source);
    await mkdir(join(stateOf(source), "inner"));
    for (const [name, content] of files) await writeFile(join(stateOf(source), name), content);
    await sealCopy(source, { index: 7, term: 2 });
  });
  afterEach(() => remove());

  /** Sends from source to target; `way` is what the bytes pass through. Gives the bytes that were sent. */
  const transfer = async (way?: (to: Duplex) => Transform): Promise<number> => {
    const [here, there] = duplexPair();
    here.on("error", () => undefined);
    there.on("error", () => undefined);
    let sent = 0;
    const counter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        sent += chunk.length;
        done(null, chunk);
      },
    });
    const through = way?.(here);
    counter.on("error", () => undefined);
    through?.on("error", () => undefined);
    const last = through === undefined ? counter : counter.pipe(through);
    last.pipe(here);
    counter.on("close", () => undefined);
    const resume = await resumeOf(target);
    const sending = sendCopy(counter as unknown as Duplex, source, resume).catch(() => undefined);
    try {
      const meta = await receiveCopy(there, target, OPTIONS);
      assert.equal(meta.checksum, (await readMeta(source)).checksum);
      return sent;
    } finally {
      counter.destroy();
      here.destroy();
      there.destroy();
      await sending;
    }
  };
  /** Lets `bytes` pass and breaks then. */
  const breaksAfter = (bytes: number) => (to: Duplex) => {
    let passed = 0;
    return new Transform({
      transform(chunk: Buffer, _encoding, done) {
        passed += chunk.length;
        if (passed <= bytes) return done(null, chunk);
        to.end();
        return done(null);
      },
    });
  };
  const assertWhole = async () => {
    for (const [name, content] of files)
      assert.ok(content.equals(await readFile(join(stateOf(target), name))), name);
    assert.deepEqual((await readMeta(target)).about, { index: 7, term: 2 });
  };

  it("brings every file, empty ones too, with what the copy stands for", async () => {
    await transfer();
    await assertWhole();
  });

  it("goes on at the byte at which it broke, however often", async () => {
    let total = 0;
    for (let round = 0; round < 2; round++) {
      await assert.rejects(transfer(breaksAfter(MEBIBYTE)), /ended/);
      const { offset } = await resumeOf(target);
      assert.ok(offset > round * MEBIBYTE * 0.7, `${offset} bytes after round ${round}`);
      total = offset;
    }
    const sent = await transfer();
    assert.ok(
      sent < 3.2 * MEBIBYTE - total + 300 * 1024,
      `${sent} bytes for what was missing after ${total}`,
    );
    await assertWhole();
  });

  it("begins anew when the sender has another copy by now", async () => {
    await assert.rejects(transfer(breaksAfter(MEBIBYTE)), /ended/);
    files.set("data", Buffer.alloc(3 * MEBIBYTE, "other"));
    await writeFile(join(stateOf(source), "data"), files.get("data")!);
    await sealCopy(source, { index: 7, term: 2 });
    await transfer();
    await assertWhole();
    files.set("data", Buffer.alloc(3 * MEBIBYTE, "state"));
  });

  it("notices a damaged chunk at once and keeps what came before it", async () => {
    let passed = 0;
    const flips = () =>
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          const copy = Buffer.from(chunk);
          if (passed < 2 * MEBIBYTE && passed + chunk.length > 2 * MEBIBYTE) copy[copy.length - 1]! ^= 1;
          passed += chunk.length;
          done(null, copy);
        },
      });
    await assert.rejects(transfer(flips), /damaged on its way|metadata|frame/);
    assert.ok((await resumeOf(target)).offset >= MEBIBYTE);
    await transfer();
    await assertWhole();
  });

  it("removes a copy whose checksum is wrong in the end, and takes a whole one after", async () => {
    await assert.rejects(transfer(breaksAfter(2 * MEBIBYTE)), /ended/);
    // As after a crash of the machine, which lost pages of the file.
    const path = join(stateOf(target), "data");
    const { size } = await stat(path);
    await truncate(path, MEBIBYTE);
    await truncate(path, size);
    await assert.rejects(transfer(), /differs from what was written/);
    assert.equal(existsSync(target), false);
    await transfer();
    await assertWhole();
  });

  it("takes nothing when there is no space for it, and names both sizes", async () => {
    const [here, there] = duplexPair();
    const sending = sendCopy(here, source, { checksum: null, offset: 0 }).catch(() => undefined);
    await assert.rejects(
      receiveCopy(there, target, { ...OPTIONS, free: () => 1000 }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, "ERR_DISK_FULL");
        assert.match(error.message, new RegExp(`${3 * MEBIBYTE + 2} bytes are missing, and 1000 are free`));
        return true;
      },
    );
    there.destroy();
    here.destroy();
    await sending;
  });

  it("refuses metadata whose paths lead out of the folder", async () => {
    for (const path of [
      "../x",
      "/etc/x",
      "state/../../x",
      "state",
      "state//x",
      "other/x",
      "state/a\\b",
      "state/\0",
    ]) {
      const record = encodeMeta({ files: [{ path, size: 1, sha256: "" }] });
      assert.throws(() => parseMeta(record), /lists a file that can't be/, path);
      const [here, there] = duplexPair();
      writeFrame(here, new Packr({ useRecords: false }).pack({ meta: record, offset: 0 }));
      await assert.rejects(receiveCopy(there, target, OPTIONS), /lists a file that can't be/);
      here.destroy();
    }
  });
});
