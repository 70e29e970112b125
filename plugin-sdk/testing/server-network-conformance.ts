/** What every implementation of `ServerNetwork` must do. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, it } from "node:test";
import { NotLeaderError } from "../contracts/consensus.js";
import { EndpointError } from "../contracts/endpoints.js";
import { HttpError } from "../contracts/http.js";
import { RpcError, type RpcOptions, type ServerNetwork } from "../contracts/server-network.js";
import { eventually } from "./eventually.js";

export interface NetworkUnderTest {
  readonly network: ServerNetwork;
  /** Where others reach it. */
  readonly address: string;
  /** The server is gone, as when its process is killed. */
  stop(): Promise<void> | void;
}

/** Two servers that can reach each other and whoever they are asked to be beside. */
export interface NetworkSubject {
  open(region?: string): Promise<NetworkUnderTest> | NetworkUnderTest;
}

const soon: RpcOptions = { deadline: 10_000 };
const bytes = (text: string): Buffer => Buffer.from(text);
const text = (data: Uint8Array): string => Buffer.from(data).toString();

async function readAll(stream: Duplex): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Registers the conformance tests with node:test. */
export function serverNetworkConformance(name: string, subject: NetworkSubject): void {
  describe(`${name}: conformance of ServerNetwork`, () => {
    let a: NetworkUnderTest;
    let b: NetworkUnderTest;
    const opened: NetworkUnderTest[] = [];
    const open = async (region?: string): Promise<NetworkUnderTest> => {
      const one = await subject.open(region);
      opened.push(one);
      return one;
    };
    beforeEach(async () => {
      [a, b] = [await open(), await open()];
    });
    afterEach(async () => {
      for (const one of opened.splice(0)) await one.stop();
    });

    const call = (method: string, body: Uint8Array | string = "", options: Partial<RpcOptions> = {}) =>
      a.network.call(b.address, method, typeof body === "string" ? bytes(body) : body, {
        ...soon,
        ...options,
      });
    const stream = (method: string, body = "", options: Partial<RpcOptions> = {}) =>
      a.network.stream(b.address, method, bytes(body), { ...soon, ...options });

    /** So that what follows times no connecting. */
    const connected = async (): Promise<void> => {
      const remove = b.network.handle("Test.Connected", async (body) => body);
      await call("Test.Connected");
      remove();
    };

    it("carries a body there and an answer back, empty ones and large ones", async () => {
      b.network.handle("Test.Echo", async (body) => body);
      assert.equal(text(await call("Test.Echo", "hello")), "hello");
      assert.equal((await call("Test.Echo")).length, 0);
      const large = Buffer.alloc(5_000_000, "drover");
      assert.ok(large.equals(await call("Test.Echo", large)));
    });

    it("tells the handler who calls", async () => {
      b.network.handle("Test.Who", async (_body, caller) => bytes(caller.address));
      assert.match(text(await call("Test.Who")), /^.+:\d+$/);
    });

    it("keeps many calls at once apart", async () => {
      b.network.handle("Test.Echo", async (body) => {
        await new Promise((resolve) => setImmediate(resolve));
        return body;
      });
      const names = Array.from({ length: 300 }, (_, index) => `call ${index}`);
      const answers = await Promise.all(names.map((one) => call("Test.Echo", one)));
      assert.deepEqual(answers.map(text), names);
    });

    it("calls a server from two sides at once, itself included", async () => {
      for (const { network } of [a, b]) network.handle("Test.Echo", async (body) => body);
      const answers = await Promise.all(
        [a, b].flatMap((from) =>
          [a, b].map((to) =>
            from.network.call(to.address, "Test.Echo", bytes(`${from.address} ${to.address}`), soon),
          ),
        ),
      );
      assert.equal(new Set(answers.map(text)).size, 4);
    });

    it("gives errors of a handler at the caller as what they were", async () => {
      const leader = { id: "s1", address: "10.0.0.1:4647", voter: true, leader: true };
      const errors: Record<string, Error> = {
        endpoint: new EndpointError(404, "job not found: größer"),
        http: new HttpError(429, "slow down", { "Retry-After": "1" }),
        leader: new NotLeaderError(leader),
        none: new NotLeaderError(undefined),
        rpc: new RpcError("ERR_RPC_INTERRUPTED", "the third server is gone"),
      };
      b.network.handle("Test.Fail", async (body) => {
        throw errors[text(body)];
      });
      for (const [which, error] of Object.entries(errors)) {
        const got = await call("Test.Fail", which).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        assert.equal(Object.getPrototypeOf(got), Object.getPrototypeOf(error), which);
        assert.deepEqual({ ...(got as object) }, { ...error });
        assert.equal((got as Error).message, error.message);
      }
    });

    it("gives any other error as a remote one, with its code in the cause", async () => {
      b.network.handle("Test.Fail", async (body) => {
        throw body.length === 0
          ? new TypeError("no such thing")
          : Object.assign(new Error("full"), { code: "ERR_DISK_FULL" });
      });
      await assert.rejects(call("Test.Fail"), {
        name: "RpcError",
        code: "ERR_RPC_REMOTE",
        message: "no such thing",
      });
      await assert.rejects(call("Test.Fail", "x"), (error: RpcError) => {
        assert.equal(error.code, "ERR_RPC_REMOTE");
        assert.equal((error.cause as { code?: string }).code, "ERR_DISK_FULL");
        return true;
      });
    });

    it("says that a method is not served, and serves it from then on when it is added", async () => {
      await assert.rejects(call("Test.Late"), { code: "ERR_RPC_NO_METHOD" });
      await assert.rejects(stream("Test.Late"), { code: "ERR_RPC_NO_METHOD" });
      const remove = b.network.handle("Test.Late", async () => bytes("now"));
      assert.equal(text(await call("Test.Late")), "now");
      assert.throws(() => b.network.handle("Test.Late", async () => bytes("twice")), /has a handler already/);
      remove();
      await assert.rejects(call("Test.Late"), { code: "ERR_RPC_NO_METHOD" });
    });

    it("refuses a body and an answer that are larger than the method takes", async () => {
      let calls = 0;
      b.network.handle(
        "Test.Small",
        async (body) => {
          calls++;
          return Buffer.alloc(body.length * 3);
        },
        { maxBody: 100, maxAnswer: 200 },
      );
      assert.equal((await call("Test.Small", Buffer.alloc(60))).length, 180);
      await assert.rejects(call("Test.Small", Buffer.alloc(101)), { code: "ERR_RPC_TOO_LARGE" });
      await assert.rejects(call("Test.Small", Buffer.alloc(2_000_000)), { code: "ERR_RPC_TOO_LARGE" });
      assert.equal(calls, 1);
      await assert.rejects(call("Test.Small", Buffer.alloc(100)), { code: "ERR_RPC_TOO_LARGE" });
    });

    it("gives a call up after its deadline and when its signal aborts, and tells the handler", async () => {
      await connected();
      const ended: string[] = [];
      let waiting = 0;
      b.network.handle("Test.Never", (body, _caller, signal) => {
        waiting++;
        return new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            ended.push(text(body));
            reject(new Error("gone"));
          });
        });
      });
      await assert.rejects(call("Test.Never", "late", { deadline: 100 }), {
        code: "ERR_RPC_DEADLINE",
        outcomeUnknown: true,
      });
      const abort = new AbortController();
      const given = call("Test.Never", "given up", { signal: abort.signal });
      await eventually("the call to arrive", () => waiting === 2);
      abort.abort();
      await assert.rejects(given, { code: "ERR_RPC_INTERRUPTED" });
      await assert.rejects(call("Test.Never", "early", { signal: AbortSignal.abort() }), {
        code: "ERR_RPC_INTERRUPTED",
      });
      await eventually("both handlers to know", () => ended.length === 2);
      assert.deepEqual(ended, ["late", "given up"]);
    });

    it("says that a server can't be reached, and that one went away in the middle", async () => {
      b.network.handle("Test.Never", () => new Promise(() => undefined));
      let arrived = false;
      b.network.handle("Test.Echo", async (body) => {
        arrived = true;
        return body;
      });
      const waiting = assert.rejects(call("Test.Never"), {
        code: "ERR_RPC_INTERRUPTED",
        outcomeUnknown: true,
      });
      await call("Test.Echo");
      assert.ok(arrived);
      await b.stop();
      await waiting;
      await assert.rejects(call("Test.Echo"), { code: "ERR_RPC_UNREACHABLE", outcomeUnknown: false });
    });

    it("opens a stream with its body, and carries both directions to their ends", async () => {
      b.network.handleStream("Test.Shout", async (there, body) => {
        there.write(`${text(body)}:`);
        for await (const part of there.iterator({ destroyOnReturn: false })) {
          there.write(String(part).toUpperCase());
        }
        there.end("!");
      });
      const here = await stream("Test.Shout", "body");
      here.write("one ");
      here.write("two");
      here.end();
      assert.equal(text(await readAll(here)), "body:ONE TWO!");
    });

    it("carries megabytes in order, with a slow reader holding the writer back", async () => {
      const part = 64 * 1024;
      const total = 64;
      let sent = 0;
      b.network.handleStream("Test.Pour", async (there) => {
        for (; sent < total * 16; sent++) {
          const chunk = Buffer.alloc(part);
          chunk.writeUInt32BE(sent);
          if (!there.write(chunk)) await once(there, "drain");
        }
        there.end();
      });
      const here = await stream("Test.Pour");
      const parts = here.iterator();
      const first = await parts.next();
      assert.equal((first.value as Buffer).readUInt32BE(), 0);
      // A round trip: what could be sent without being read is on its way by now.
      b.network.handle("Test.Echo", async (body) => body);
      for (let trips = 0; trips < 20; trips++) await call("Test.Echo", "x");
      assert.ok(sent < total * 8, `${sent} parts were sent to a reader that took one`);
      let received = (first.value as Buffer).length;
      for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
        received += (next.value as Buffer).length;
      }
      assert.equal(received, total * 16 * part);
    });

    it("gives an error before the first byte as the error of opening", async () => {
      b.network.handleStream("Test.Refuse", async () => {
        throw new EndpointError(404, "no such log");
      });
      await assert.rejects(stream("Test.Refuse"), {
        name: "EndpointError",
        status: 404,
        message: "no such log",
      });
    });

    it("opens a stream when the handler resolves, though nothing was written yet", async () => {
      let later: Duplex | undefined;
      b.network.handleStream("Test.Later", async (there) => {
        later = there;
      });
      const here = await stream("Test.Later");
      later!.end("late");
      assert.equal(text(await readAll(here)), "late");
    });

    it("gives up opening after the deadline and when the signal aborts", async () => {
      await connected();
      b.network.handleStream("Test.Never", () => new Promise(() => undefined));
      await assert.rejects(stream("Test.Never", "", { deadline: 100 }), { code: "ERR_RPC_DEADLINE" });
      const abort = new AbortController();
      const opening = stream("Test.Never", "", { signal: abort.signal });
      abort.abort();
      await assert.rejects(opening, { code: "ERR_RPC_INTERRUPTED" });
    });

    it("breaks the other end of a stream when one is destroyed, either way, and with an error of the handler", async () => {
      let there: Duplex | undefined;
      let fail: ((error: Error) => void) | undefined;
      b.network.handleStream("Test.Open", (stream) => {
        there = stream;
        stream.write("open");
        return new Promise((_resolve, reject) => {
          fail = reject;
        });
      });
      const first = await stream("Test.Open");
      first.destroy();
      await assert.rejects(readAll(there!), { code: "ERR_RPC_INTERRUPTED" });
      for (const end of [() => there!.destroy(), () => fail!(new Error("the file went away"))]) {
        const here = await stream("Test.Open");
        const reading = assert.rejects(readAll(here), { code: "ERR_RPC_INTERRUPTED" });
        end();
        await reading;
      }
    });

    it("breaks streams when the server goes away", async () => {
      b.network.handleStream("Test.Open", async (there) => void there.write("open"));
      const here = await stream("Test.Open");
      const reading = assert.rejects(readAll(here), { code: "ERR_RPC_INTERRUPTED" });
      await b.stop();
      await reading;
    });

    it("keeps regions apart except where a method is open to others", async () => {
      const far = await open("other");
      far.network.handle("Test.Own", async () => bytes("own"));
      far.network.handle("Test.Open", async () => bytes("open"), { otherRegions: true });
      const from = (method: string, region?: string) =>
        a.network.call(far.address, method, bytes(""), region === undefined ? soon : { ...soon, region });
      assert.equal(text(await from("Test.Open", "other")), "open");
      assert.equal(text(await from("Test.Open", "*")), "open");
      await assert.rejects(from("Test.Open"), { code: "ERR_RPC_REFUSED" });
      await assert.rejects(from("Test.Own", "other"), { code: "ERR_RPC_REFUSED" });
    });
  });
}
