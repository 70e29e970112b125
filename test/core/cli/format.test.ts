import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lastLines, tailOf } from "../../../core/cli/commands/tail.js";
import {
  binarySize,
  columns,
  formatTime,
  keyValues,
  largestPeriods,
  plural,
  printJson,
  shortId,
  timeDifference,
} from "../../../core/cli/format.js";
import { jsonFrames } from "../../../core/cli/json-frames.js";
import { nextLaunch } from "../../../core/jobspec/next-launch.js";

test("columns are aligned two spaces apart and nothing follows the last", () => {
  assert.equal(
    columns([
      ["ID", "Class", "Status"],
      ["c1fe0aab", "", "ready"],
    ]),
    "ID        Class   Status\nc1fe0aab  <none>  ready",
  );
});

test("key-value blocks are aligned at the equals sign", () => {
  assert.equal(
    keyValues([
      ["ID", "web"],
      ["Submit Date", ""],
    ]),
    "ID          = web\nSubmit Date = <none>",
  );
});

test("times are told in their two largest units", () => {
  const now = Date.parse("2026-11-23T14:49:53Z");
  assert.equal(timeDifference(now - 32_000, now), "32s ago");
  assert.equal(timeDifference(now, now), "0s ago");
  assert.equal(timeDifference(now + 607_000, now), "10m7s from now");
  assert.equal(timeDifference(now - 3_605_000, now), "1h5s ago");
  assert.equal(timeDifference(0, now), "");
  assert.equal(largestPeriods(2 * 86_400 + 3 * 3600 + 59), "2d3h");
  assert.equal(largestPeriods(400 * 86_400), "1y1mo");
});

test("sizes are in binary units, with a decimal below ten", () => {
  assert.deepEqual([0, 9, 1023, 1024, 6.3 * 1024 ** 2, 24_105 * 1024 ** 2, 270_553_174_016].map(binarySize), [
    "0 B",
    "9 B",
    "1023 B",
    "1.0 KiB",
    "6.3 MiB",
    "24 GiB",
    "252 GiB",
  ]);
});

test("ids, plurals, times and JSON look as Nomad prints them", () => {
  assert.equal(shortId("c1fe0aab-ae22-a84f"), "c1fe0aab");
  assert.equal(plural(1, "allocation"), "1 allocation");
  assert.equal(plural(2, "allocation"), "2 allocations");
  assert.equal(Date.parse(formatTime(1_795_445_352_000)), 1_795_445_352_000);
  assert.equal(formatTime(0), "N/A");
  assert.equal(
    printJson({ b: 1, a: [{ d: null, c: 2 }] }),
    JSON.stringify({ a: [{ c: 2, d: null }], b: 1 }, null, 4),
  );
});

test("frames are found however the bytes are cut", async () => {
  const frame = fc.record({ File: fc.string(), Data: fc.string(), Offset: fc.nat() });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(frame, fc.constant({}))),
      fc.integer({ min: 1, max: 9 }),
      async (frames, step) => {
        const bytes = Buffer.from(frames.map((one) => JSON.stringify(one)).join(""));
        async function* pieces() {
          for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
        }
        const found: unknown[] = [];
        for await (const one of jsonFrames(pieces())) found.push(one);
        assert.deepEqual(
          found,
          frames.map((one) => JSON.parse(JSON.stringify(one))),
        );
      },
    ),
  );
});

test("the end of a log is cut to whole lines, whatever follows comes after it", async () => {
  async function tail(texts: readonly (string | undefined)[], lines: number): Promise<string> {
    let out = "";
    async function* frames() {
      for (const text of texts)
        yield text === undefined ? {} : { Data: Buffer.from(text).toString("base64") };
    }
    await lastLines(frames(), tailOf({ n: lines }), async (bytes) => {
      out += Buffer.from(bytes).toString();
    });
    return out;
  }
  assert.equal(await tail(["a\nb\nc\n"], 2), "b\nc\n");
  assert.equal(await tail(["a\nb\nc"], 2), "b\nc");
  assert.equal(await tail(["a\n", "b\n"], 5), "a\nb\n");
  assert.equal(await tail(["a\nb\n", undefined, "c\nd\n"], 1), "b\nc\nd\n");
  assert.equal(await tail(["a\nb\n"], 0), "");
  assert.equal(await tail(["\n\n\n"], 2), "\n\n");
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("x", "yy", "")),
      fc.integer({ min: 1, max: 6 }),
      async (rows, n) => {
        const text = rows.map((row) => `${row}\n`).join("");
        assert.equal(
          await tail(text === "" ? [] : [text], n),
          rows
            .slice(-n)
            .map((row) => `${row}\n`)
            .join(""),
        );
      },
    ),
  );
});

test("the next launch follows the cron expression in its time zone", () => {
  const at = Date.parse("2026-11-23T14:49:53Z");
  const next = (Spec: string, TimeZone = "UTC") => {
    const found = nextLaunch({ Spec, TimeZone }, at);
    return found === undefined ? undefined : new Date(found).toISOString();
  };
  assert.equal(next("*/15 * * * * *"), "2026-11-23T15:00:00.000Z");
  assert.equal(next("0 9 * * *", "Europe/Berlin"), "2026-11-24T08:00:00.000Z");
  assert.equal(next("30 4 1 * *"), "2026-12-01T04:30:00.000Z");
  assert.equal(next("0 0 29 2 *"), "2028-02-29T00:00:00.000Z");
  assert.equal(next("0 0 * * 1"), "2026-11-30T00:00:00.000Z");
  assert.equal(next("0 0 L * *"), "2026-11-30T00:00:00.000Z");
  assert.equal(next("nonsense"), undefined);
  assert.equal(next("0 9 * * *", "Mars/Olympus"), undefined);
});
