import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { type Headers, pack } from "tar-stream";
import {
  ArchiveError,
  type ArchiveMeta,
  readArchive,
  writeArchive,
} from "../../../../core/state/archive/index.js";
import { seal } from "../../../../core/state/archive/seal.js";
import { temporaryFolder } from "../support.js";

const MANIFEST = "a manifest\n";
/** Some that compresses and some that does not. */
const DATA = Buffer.concat([Buffer.alloc(20_000), randomBytes(2_000), Buffer.alloc(5_000, "abc")]);

const meta: ArchiveMeta = {
  Version: 1,
  ID: "3-17-1795445324000",
  Index: 17,
  Term: 3,
  Created: "2026-11-23T14:48:44Z",
  Drover: "0.3.0",
  Region: "global",
  Schema: 2,
  Servers: [{ ID: "a", Address: "127.0.0.1:4647", Voter: true }],
  Files: [
    { Name: "manifest.json", Size: MANIFEST.length },
    { Name: "data.mdb", Size: DATA.length },
  ],
  Tables: [{ Name: "jobs", Rows: 3, Bytes: 4096 }],
};

let folder: string;
let file: string;
let whole: Buffer;
before(async () => {
  folder = temporaryFolder();
  mkdirSync(join(folder, "state"));
  writeFileSync(join(folder, "state", "manifest.json"), MANIFEST);
  writeFileSync(join(folder, "state", "data.mdb"), DATA);
  file = join(folder, "whole.snap");
  await writeArchive(join(folder, "state"), meta, createWriteStream(file));
  whole = readFileSync(file);
});
after(() => rmSync(folder, { recursive: true, force: true }));

let unpacked = 0;
/** An empty folder. */
function emptyFolder(): string {
  const path = join(folder, `unpacked-${unpacked++}`);
  mkdirSync(path);
  return path;
}

const check = (bytes: Uint8Array, chunk = 997): Promise<ArchiveMeta> =>
  readArchive(Readable.from(chunks(bytes, chunk)), () => undefined);

function* chunks(bytes: Uint8Array, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes.subarray(at, at + size));
}

interface Planted extends Partial<Headers> {
  readonly name: string;
  readonly body?: string | Buffer;
}

/** A sealed archive of these entries, as a hostile or a later writer makes it. */
async function planted(entries: readonly Planted[]): Promise<Buffer> {
  const tar = pack();
  for (const { body = "", ...header } of entries) tar.entry(header as Headers, body);
  tar.finalize();
  const blocks: Buffer[] = [];
  for await (const block of tar) blocks.push(block as Buffer);
  return sealed(gzipSync(Buffer.concat(blocks)));
}

async function sealed(bytes: Buffer): Promise<Buffer> {
  return Buffer.concat(await Readable.from([bytes]).pipe(seal()).toArray());
}

const json = (changes: object): string => JSON.stringify({ ...meta, ...changes });
const sums = (...files: readonly [name: string, body: string | Buffer][]): string =>
  files.map(([name, body]) => `${createHash("sha256").update(body).digest("hex")}  ${name}\n`).join("");

describe("a snapshot archive", () => {
  it("gives back what was put in, whatever the pieces that it comes in", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 70_000 }), async (size) => {
        const target = emptyFolder();
        assert.deepEqual(await readArchive(Readable.from(chunks(whole, size)), () => target), meta);
        assert.equal(readFileSync(join(target, "manifest.json"), "utf8"), MANIFEST);
        assert.deepEqual(readFileSync(join(target, "data.mdb")), DATA);
      }),
      { numRuns: 30, verbose: true },
    );
  });

  it("is a gzipped tar file to other tools, with checksums that they can check", () => {
    const listed = execFileSync("tar", ["tzf", file], { encoding: "utf8" });
    assert.deepEqual(listed.trim().split("\n"), [
      "meta.json",
      "state/manifest.json",
      "state/data.mdb",
      "SHA256SUMS",
    ]);
    const target = emptyFolder();
    execFileSync("tar", ["xzf", file, "-C", target]);
    execFileSync("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: target });
  });

  it("with any bit flipped is refused", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), async (at, bit) => {
        const damaged = Buffer.from(whole);
        damaged[at] = damaged[at]! ^ (1 << bit);
        await assert.rejects(check(damaged), ArchiveError);
      }),
      { numRuns: 400, verbose: true },
    );
  });

  it("with a bit of its first or last bytes flipped is refused, whatever gzip makes of it", async () => {
    for (const at of [
      ...Array(12).keys(),
      ...[...Array(120).keys()].map((back) => whole.length - 1 - back),
    ]) {
      const damaged = Buffer.from(whole);
      damaged[at] = damaged[at]! ^ 1;
      await assert.rejects(check(damaged), ArchiveError, `byte ${at}`);
    }
  });

  it("that is cut anywhere, or has anything behind it, is refused", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (end) => {
        await assert.rejects(check(whole.subarray(0, end)), ArchiveError);
      }),
      { numRuns: 300, verbose: true },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 2_000 }), async (more) => {
        await assert.rejects(check(Buffer.concat([whole, more])), ArchiveError);
      }),
      { numRuns: 100, verbose: true },
    );
    await assert.rejects(check(Buffer.concat([whole, whole])), ArchiveError);
    await assert.rejects(check(Buffer.alloc(0)), ArchiveError);
  });

  it("is not taken from a source that breaks, whose error is told", async () => {
    async function* breaking(): AsyncGenerator<Buffer> {
      yield whole.subarray(0, 1_000);
      throw new Error("the line is down");
    }
    await assert.rejects(
      readArchive(breaking(), () => undefined),
      /the line is down/,
    );
  });

  it("is refused before anything is unpacked where what it says of itself is not accepted", async () => {
    await assert.rejects(
      readArchive(createReadStream(file), ({ Region }) => {
        throw new Error(`not from ${Region}`);
      }),
      /^Error: not from global$/,
    );
  });

  it("of another form is refused in words", async () => {
    const state: Planted[] = [
      { name: "state/manifest.json", body: MANIFEST },
      { name: "state/data.mdb", body: DATA },
    ];
    const good = json({});
    const goodSums = sums(["meta.json", good], ["state/manifest.json", MANIFEST], ["state/data.mdb", DATA]);
    const first: Planted = { name: "meta.json", body: good };
    const last: Planted = { name: "SHA256SUMS", body: goodSums };
    await check(await planted([first, ...state, last]));
    const attempts: [entries: readonly Planted[], expected: RegExp][] = [
      [[], /meta\.json is missing/],
      [[first, ...state], /SHA256SUMS is missing/],
      [[...state, first, last], /has file "state\/manifest.json" where the file meta.json belongs/],
      [[first, state[0]!, last], /where the file state\/data.mdb belongs/],
      [[first, ...state, state[1]!, last], /"state\/data.mdb" where the file SHA256SUMS belongs/],
      [[first, ...state, last, { name: "more", body: "x" }], /"more" does not belong in it/],
      [[first, ...state, last, last], /"SHA256SUMS" does not belong in it/],
      [[first, { name: "state/../../evil", body: MANIFEST }], /where the file state\/manifest.json belongs/],
      [[first, { name: "/etc/passwd", body: MANIFEST }], /where the file state\/manifest.json belongs/],
      [
        [first, { name: "state/manifest.json", type: "symlink", linkname: "/etc/passwd" }],
        /has symlink "state\/manifest.json"/,
      ],
      [[first, { ...state[0]!, body: "longer than that\n" }], /has 17 bytes, and meta.json says 11/],
      [
        [first, { ...state[0]!, body: MANIFEST.toUpperCase() }, state[1]!, last],
        /SHA256SUMS does not match the files/,
      ],
      [[first, ...state, { name: "SHA256SUMS", body: `${goodSums}more` }], /SHA256SUMS has \d+ bytes/],
      [[{ name: "meta.json", body: "{" }], /meta\.json is not JSON/],
      [[{ name: "meta.json", body: "null" }], /it is no snapshot archive of Drover/],
      [
        [{ name: "meta.json", body: json({ Version: 2, Drover: "9.1.0", Sharded: true }) }],
        /version 2 archive of Drover 9\.1\.0, and this Drover reads version 1/,
      ],
      [[{ name: "meta.json", body: json({ Version: 0 }) }], /says version 0, expected 1/],
      [[{ name: "meta.json", body: json({ Index: -1 }) }], /meta\.json: Index: /],
      [[{ name: "meta.json", body: json({ Surprise: 1 }) }], /Unrecognized key: "Surprise"/],
      [
        [{ name: "meta.json", body: json({ Files: [{ Name: "../evil", Size: 1 }] }) }],
        /Files\.0\.Name: is not a plain file name/,
      ],
      [[{ name: "meta.json", body: json({ Files: [meta.Files[0], meta.Files[0]] }) }], /names a file twice/],
      [
        [{ name: "meta.json", body: json({ Files: [{ Name: "data.mdb", Size: 2 ** 50 }] }) }],
        /meta\.json: Files\.0\.Size/,
      ],
      [[{ name: "meta.json", body: " ".repeat(1024 * 1024 + 1) }], /more than 1048576/],
    ];
    for (const [entries, expected] of attempts) {
      const archive = await planted(entries);
      await assert.rejects(check(archive), (error: Error) => {
        assert.ok(error instanceof ArchiveError, String(error));
        assert.match(error.message, expected);
        return true;
      });
    }
    await assert.rejects(
      check(Buffer.from("PK\u0003\u0004 this is no gzip file")),
      /no snapshot archive of Drover/,
    );
  });

  it("that would gather in memory is refused: a tar header of gigabytes", async () => {
    // A PAX header is kept whole by a tar reader; this one says that it is 1 GiB long.
    const pax = Buffer.alloc(512);
    pax.write("meta.json");
    pax.write("0000600\0", 100);
    pax.write("0000000\0", 108);
    pax.write("0000000\0", 116);
    pax.write(`${(1024 ** 3).toString(8).padStart(11, "0")}\0`, 124);
    pax.write("00000000000\0", 136);
    pax.write("        ", 148);
    pax.write("x", 156);
    pax.write("ustar\u000000", 257);
    const sum = pax.reduce((total, byte) => total + byte, 0);
    pax.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    const bomb = gzipSync(Buffer.concat([pax, Buffer.alloc(64 * 1024 * 1024)]), { level: 1 });
    await assert.rejects(check(await sealed(bomb), 64 * 1024), /its headers are too large/);
  });

  it("is not written of files that have another size than they should", async () => {
    const sink = createWriteStream(join(folder, "wrong.snap"));
    const wrong = { ...meta, Files: [{ Name: "manifest.json", Size: MANIFEST.length + 1 }] };
    await assert.rejects(writeArchive(join(folder, "state"), wrong, sink));
    await finished(sink).catch(() => undefined);
    await assert.rejects(check(readFileSync(join(folder, "wrong.snap"))), ArchiveError);
  });
});
