import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { describe, it } from "node:test";
import { readFrames, writeFrame } from "@drover/plugin-sdk/consensus";
import fc from "fast-check";
import { Packr } from "msgpackr";
import type { Message, MessageBody } from "../../../plugins/consensus-raft/core/types.js";
import { decodeMessage, encodeMessage } from "../../../plugins/consensus-raft/message-codec.js";

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const servers = fc.array(fc.record({ id: fc.string(), address: fc.string(), voter: fc.boolean() }), {
  maxLength: 4,
});
const entries = fc
  .tuple(
    fc.integer({ min: 1, max: 2 ** 40 }),
    fc.array(
      fc.record({
        term: count,
        kind: fc.constantFrom(
          "command" as const,
          "noop" as const,
          "configuration" as const,
          "restore" as const,
        ),
        data: fc.uint8Array({ maxLength: 50 }),
      }),
      { maxLength: 5 },
    ),
  )
  .map(([first, list]) => list.map((entry, position) => ({ index: first + position, ...entry })));

const bodies: fc.Arbitrary<MessageBody> = fc.oneof(
  fc.record({
    type: fc.constant("vote-request" as const),
    pre: fc.boolean(),
    transfer: fc.boolean(),
    lastIndex: count,
    lastTerm: count,
  }),
  fc.record({ type: fc.constant("vote-response" as const), pre: fc.boolean(), granted: fc.boolean() }),
  fc.record({
    type: fc.constant("append" as const),
    prevIndex: count,
    prevTerm: count,
    entries,
    commit: count,
  }),
  fc.record({ type: fc.constant("append-accepted" as const), match: count }),
  fc.record({
    type: fc.constant("append-rejected" as const),
    prevIndex: count,
    conflictTerm: count,
    conflictIndex: count,
  }),
  fc.record({ type: fc.constant("heartbeat" as const), commit: count, round: count }),
  fc.record({ type: fc.constant("heartbeat-response" as const), round: count }),
  fc.record({
    type: fc.constant("install-snapshot" as const),
    snapshot: fc.record({
      index: count,
      term: count,
      configuration: fc.record({ cluster: fc.string(), servers }),
    }),
  }),
  fc.constant({ type: "timeout-now" as const }),
  fc.record({ type: fc.constant("read-request" as const), context: count }),
  fc.record({ type: fc.constant("read-response" as const), context: count, index: count }),
  fc.constant({ type: "stale" as const }),
);

describe("raft messages on the wire", () => {
  it("come back as they were sent, of every kind", () => {
    fc.assert(
      fc.property(bodies, count, (body, term) => {
        const message = { ...body, term, from: "a", to: "b" } as Message;
        const decoded = decodeMessage(encodeMessage(message), "a", "b");
        assert.deepEqual(normal(decoded), normal(message));
      }),
      { numRuns: 500 },
    );
  });

  it("are refused with a reason when they are anything else", () => {
    const packr = new Packr({ useRecords: false });
    const cases: [unknown, RegExp][] = [
      ["text", /must be a list/],
      [[99, 1], /of kind 99 is not known/],
      [[4, -1, 0], /term must be a whole number/],
      [[4, 1, "1"], /match of append-accepted must be a whole number/],
      [[4, 1], /match of append-accepted must be a whole number/],
      [[2, 1, 0, true], /pre of vote-response must be true or false/],
      [[3, 1, 0, 0, [1, 1, 0], 0], /must be a list of entries/],
      [[3, 1, 0, 0, [1, 1, 9, new Uint8Array(1)], 0], /entry 1 is of no kind known/],
      [[3, 1, 0, 0, [1, 1, 0, "data"], 0], /entry 1 is of no kind known here, or has no data/],
      [[8, 1, { index: 1, term: 1, configuration: {} }], /must have a list of servers/],
    ];
    for (const [value, expected] of cases)
      assert.throws(() => decodeMessage(packr.pack(value), "a", "b"), expected);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          decodeMessage(Buffer.from(bytes), "a", "b");
        } catch (error) {
          assert.ok(error instanceof Error);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("frames", () => {
  it("come whole and in order however the stream cuts them", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 }),
        async (bodies, cuts) => {
          const stream = new PassThrough();
          for (const body of bodies) writeFrame(stream, body);
          stream.end();
          const whole = Buffer.concat(await stream.toArray());
          const pieces: Buffer[] = [];
          for (let at = 0, turn = 0; at < whole.length; turn++) {
            const length = cuts[turn % cuts.length]!;
            pieces.push(whole.subarray(at, at + length));
            at += length;
          }
          const seen: Buffer[] = [];
          for await (const frame of readFrames(Readable.from(pieces), 300)) seen.push(frame);
          assert.deepEqual(
            seen.map((frame) => [...frame]),
            bodies.map((body) => [...body]),
          );
        },
      ),
      { numRuns: 100 },
    );
  });

  it("are refused when they are too large, or end in the middle", async () => {
    const read = async (bytes: Buffer) => {
      for await (const frame of readFrames(Readable.from([bytes]), 10)) assert.ok(frame.length <= 10);
    };
    await assert.rejects(read(Buffer.from([11, 0, 0, 0])), /frame of 11 bytes came, and 10 are taken/);
    await assert.rejects(read(Buffer.from([255, 255, 255, 255])), /are taken at most/);
    await assert.rejects(read(Buffer.from([4, 0, 0, 0, 1])), /ended in the middle of a frame/);
    await read(Buffer.from([1, 0, 0, 0, 1]));
  });
});

/** Buffers and arrays of bytes are the same to a reader. */
function normal(message: Message): unknown {
  const plain =
    message.type === "append"
      ? { ...message, entries: message.entries.map((entry) => ({ ...entry, data: [...entry.data] })) }
      : message;
  return JSON.parse(JSON.stringify(plain));
}
