/** Conformance kit of agent transports: what every pair of `AgentTransport` and `AgentLink` must do. */

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  type AgentClientHandler,
  type AgentLink,
  type AgentServerHandler,
  type AgentTransport,
  type EnrollmentRequest,
  formatJoinToken,
  RemoteError,
} from "../contracts/index.js";
import type { FileFrame, ServerMethods } from "../protocol/messages.js";
import { eventually } from "./eventually.js";

/** The transport under test: one server and links to it. */
export interface AgentTransportSubject {
  /** A running server side that `serve` was not called on. Closed by the subject's `close`. */
  transport(): Promise<AgentTransport>;
  /** The agent side of another process, which enrols with `joinToken` where its `stateDir` holds no key. */
  link(transport: AgentTransport, joinToken: string): Promise<AgentLink>;
  close(): Promise<void>;
}

/** The server's side without a cluster: keeps keys and secrets in memory and remembers what it was asked. */
export class MemoryAgentServer implements AgentServerHandler {
  readonly keys = new Map<string, Uint8Array>();
  readonly connections: { readonly nodeId: string; readonly connected: boolean }[] = [];
  readonly requests: { readonly nodeId: string; readonly method: string; readonly request: unknown }[] = [];
  /** Answers in the place of the default ones. */
  answer: ((nodeId: string, method: keyof ServerMethods, request: unknown) => Promise<object>) | undefined;
  /** Join secrets (hex) by the node that used them; "" while unused. */
  private readonly secrets = new Map<string, string>();

  /** A secret that one node may enrol with. */
  issue(): Uint8Array {
    const secret = randomBytes(32);
    this.secrets.set(secret.toString("hex"), "");
    return secret;
  }

  nodeKey(nodeId: string): Uint8Array | undefined {
    return this.keys.get(nodeId);
  }

  async enroll({ nodeId, publicKey, joinSecret }: EnrollmentRequest): Promise<void> {
    const secret = Buffer.from(joinSecret).toString("hex");
    const owner = `${nodeId} ${Buffer.from(publicKey).toString("hex")}`;
    const user = this.secrets.get(secret);
    if (user === undefined) throw new RemoteError("forbidden", "join token is unknown or has expired");
    if (user !== "" && user !== owner) throw new RemoteError("forbidden", "join token was used already");
    this.secrets.set(secret, owner);
    this.keys.set(nodeId, publicKey);
  }

  async handle<M extends keyof ServerMethods>(
    nodeId: string,
    method: M,
    request: ServerMethods[M]["request"],
  ): Promise<ServerMethods[M]["answer"]> {
    this.requests.push({ nodeId, method, request });
    const answer =
      this.answer !== undefined
        ? await this.answer(nodeId, method, request)
        : { heartbeatTTL: 10_000, index: this.requests.length };
    return answer as ServerMethods[M]["answer"];
  }

  connection(nodeId: string, connected: boolean): void {
    this.connections.push({ nodeId, connected });
  }
}

/** The agent's side without an agent; replace its members for what a test needs. */
export class MemoryAgentClient implements AgentClientHandler {
  connected = false;
  readonly changes: boolean[] = [];
  answer: (method: string, request: object) => Promise<unknown> = async (method, request) => ({
    method,
    request,
  });
  frames: (method: string, request: object, signal: AbortSignal) => AsyncIterable<FileFrame> =
    async function* () {};

  async handle(method: string, request: object): Promise<never> {
    return (await this.answer(method, request)) as never;
  }

  stream(method: string, request: object, signal: AbortSignal): AsyncIterable<FileFrame> {
    return this.frames(method, request, signal);
  }

  connection(connected: boolean): void {
    this.connected = connected;
    this.changes.push(connected);
  }
}

/** Requires `node:test`; call at the top of a test file. */
export function testAgentTransport(name: string, subject: AgentTransportSubject): void {
  describe(`${name} as an agent transport`, () => {
    const server = new MemoryAgentServer();
    const links: AgentLink[] = [];
    let transport: AgentTransport;
    let folder: string;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "drover-transport-"));
      transport = await subject.transport();
      await transport.serve(server);
    });

    after(async () => {
      await Promise.all(links.map((link) => link.close()));
      await subject.close();
      await rm(folder, { recursive: true, force: true });
    });

    async function open(options: { secret?: Uint8Array; nodeId?: string; handler?: MemoryAgentClient } = {}) {
      const handler = options.handler ?? new MemoryAgentClient();
      const nodeId = options.nodeId ?? randomUUID();
      const secret = options.secret ?? server.issue();
      const link = await subject.link(
        transport,
        formatJoinToken({ clusterKey: transport.clusterKeyPair()!.publicKey, secret }),
      );
      links.push(link);
      await link.open({ nodeId, stateDir: join(folder, randomUUID()), region: "global", handler });
      return { link, handler, nodeId };
    }

    async function openUp(handler?: MemoryAgentClient) {
      const opened = await open(handler === undefined ? {} : { handler });
      await eventually(
        "the link to come up",
        () => opened.handler.connected && transport.isConnected(opened.nodeId),
      );
      return opened;
    }

    const read = { allocId: randomUUID(), path: "/a", offset: 0, limit: 0 };

    it("enrols a node, tells both sides that it is connected, and tells the server when it closes", async () => {
      const { link, nodeId } = await openUp();
      assert.equal(server.keys.get(nodeId)?.length, 32);
      await link.close();
      await eventually("the server to notice", () => !transport.isConnected(nodeId));
      const changes = server.connections.filter((change) => change.nodeId === nodeId);
      assert.deepEqual(
        changes.map((change) => change.connected),
        [true, false],
      );
    });

    it("doesn't connect a node whose join token is unknown or was used by another node", async () => {
      const secret = server.issue();
      const first = await open({ secret });
      await eventually("the first node", () => first.handler.connected);
      const second = await open({ secret });
      const stranger = await open({ secret: randomBytes(32) });
      const refused = () => Object.values(transport.stats().refused).reduce((sum, count) => sum + count, 0);
      await eventually("both to be refused", () => refused() >= 2);
      for (const { nodeId, handler } of [second, stranger]) {
        assert.equal(server.keys.has(nodeId), false);
        assert.equal(transport.isConnected(nodeId), false);
        assert.equal(handler.connected, false);
      }
    });

    it("carries calls of the agent and their answers", async () => {
      const { link, nodeId } = await openUp();
      const answer = await link.call("node.heartbeat", { status: "ready" });
      assert.equal(answer.heartbeatTTL, 10_000);
      const last = server.requests.filter((request) => request.nodeId === nodeId).at(-1);
      assert.deepEqual(last, { nodeId, method: "node.heartbeat", request: { status: "ready" } });
    });

    it("carries calls of the server and their answers", async () => {
      const { nodeId } = await openUp();
      const request = { allocId: randomUUID(), path: "/local" };
      const answer = await transport.call(nodeId, "fs.list", request);
      assert.deepEqual(answer, { method: "fs.list", request });
    });

    it("carries errors with their code, both ways", async () => {
      const handler = new MemoryAgentClient();
      handler.answer = async () => {
        throw new RemoteError("not_found", "no such file");
      };
      const { link, nodeId } = await openUp(handler);
      await assert.rejects(transport.call(nodeId, "fs.stat", { allocId: "a", path: "/x" }), {
        name: "RemoteError",
        code: "not_found",
        message: "no such file",
      });
      server.answer = async () => {
        throw new RemoteError("unavailable", "no leader");
      };
      try {
        await assert.rejects(link.call("node.heartbeat", { status: "ready" }), {
          code: "unavailable",
          message: "no leader",
        });
      } finally {
        server.answer = undefined;
      }
    });

    it("carries bodies of megabytes whole", async () => {
      const { nodeId } = await openUp();
      const removed = Array.from({ length: 60_000 }, () => randomUUID());
      const answer: unknown = await transport.call(nodeId, "assignment.changed", {
        index: 1,
        upserts: [],
        removed,
      });
      assert.deepEqual(answer, { method: "assignment.changed", request: { index: 1, upserts: [], removed } });
    });

    it("keeps many calls at once apart", async () => {
      const { nodeId } = await openUp();
      const paths = Array.from({ length: 200 }, (_, index) => `/${index}`);
      const answers = (await Promise.all(
        paths.map((path) => transport.call(nodeId, "fs.list", { allocId: "a", path })),
      )) as unknown as { request: { path: string } }[];
      assert.deepEqual(
        answers.map((answer) => answer.request.path),
        paths,
      );
    });

    it("rejects a call after its deadline, and one whose signal is aborted", async () => {
      const handler = new MemoryAgentClient();
      handler.answer = () => new Promise(() => undefined);
      const { nodeId } = await openUp(handler);
      await assert.rejects(transport.call(nodeId, "node.stats", {}, { timeout: 50 }), { code: "timeout" });
      const abort = new AbortController();
      const call = transport.call(nodeId, "node.stats", {}, { signal: abort.signal });
      abort.abort(new Error("changed my mind"));
      await assert.rejects(call, /changed my mind/);
    });

    it("rejects calls that can't be delivered as unreachable", async () => {
      await assert.rejects(transport.call(randomUUID(), "node.stats", {}), { code: "unreachable" });
      const { link, nodeId } = await openUp();
      await link.close();
      await assert.rejects(link.call("node.heartbeat", { status: "ready" }), { code: "unreachable" });
      await eventually("the server to notice", () => !transport.isConnected(nodeId));
      await assert.rejects(transport.call(nodeId, "node.stats", {}), { code: "unreachable" });
    });

    it("streams frames in order to their end, and bytes unchanged", async () => {
      const content = randomBytes(3_000_000);
      const handler = new MemoryAgentClient();
      handler.frames = async function* () {
        for (let offset = 0; offset < content.length; offset += 50_000) {
          const Data = content.subarray(offset, offset + 50_000);
          yield { File: "/a", Offset: offset + Data.length, Data };
        }
      };
      const { nodeId } = await openUp(handler);
      const parts: Uint8Array[] = [];
      let offset = 0;
      for await (const frame of transport.stream(nodeId, "fs.read", read, new AbortController().signal)) {
        offset += frame.Data?.length ?? 0;
        assert.equal(frame.Offset, offset);
        parts.push(frame.Data ?? new Uint8Array());
      }
      assert.ok(Buffer.concat(parts).equals(content));
    });

    it("holds the agent back while the reader is slow", async () => {
      let produced = 0;
      const handler = new MemoryAgentClient();
      handler.frames = async function* () {
        for (; produced < 500; produced++) yield { File: "/a", Offset: produced, Data: Buffer.alloc(1_000) };
      };
      const { nodeId } = await openUp(handler);
      const frames = transport
        .stream(nodeId, "fs.read", read, new AbortController().signal)
        [Symbol.asyncIterator]();
      let taken = 0;
      while (taken < 20) {
        assert.equal((await frames.next()).done, false);
        taken++;
      }
      // A round trip behind the stream's frames: whatever the agent could send without credit is here by now.
      await transport.call(nodeId, "node.stats", {});
      assert.ok(produced <= taken + 64, `${produced} frames were made for ${taken} taken`);
      while (!(await frames.next()).done) taken++;
      assert.equal(taken, 500);
    });

    it("ends the agent's side of a stream when the reader leaves or aborts", async () => {
      let running = 0;
      const handler = new MemoryAgentClient();
      handler.frames = async function* (_method, _request, signal) {
        running++;
        try {
          yield { File: "/a", Offset: 0 };
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        } finally {
          running--;
        }
      };
      const { nodeId } = await openUp(handler);
      for await (const frame of transport.stream(nodeId, "fs.read", read, new AbortController().signal)) {
        assert.equal(frame.Offset, 0);
        break;
      }
      await eventually("the left stream to end", () => running === 0);
      const abort = new AbortController();
      await assert.rejects(async () => {
        for await (const frame of transport.stream(nodeId, "fs.read", read, abort.signal)) {
          assert.equal(running, 1, frame.File);
          abort.abort(new Error("enough"));
        }
      }, /enough/);
      await eventually("the aborted stream to end", () => running === 0);
    });

    it("carries the error that ends a stream, after the frames before it", async () => {
      const handler = new MemoryAgentClient();
      handler.frames = async function* () {
        yield { File: "/a", Offset: 1 };
        throw new RemoteError("not_found", "the file went away");
      };
      const { nodeId } = await openUp(handler);
      const offsets: number[] = [];
      await assert.rejects(
        async () => {
          for await (const frame of transport.stream(nodeId, "fs.read", read, new AbortController().signal)) {
            offsets.push(frame.Offset);
          }
        },
        { code: "not_found" },
      );
      assert.deepEqual(offsets, [1]);
    });

    it("ends streams and calls as unreachable when the node goes away", async () => {
      const handler = new MemoryAgentClient();
      handler.answer = () => new Promise(() => undefined);
      handler.frames = async function* (_method, _request, signal) {
        yield { File: "/a", Offset: 0 };
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      };
      const { link, nodeId } = await openUp(handler);
      const frames = transport
        .stream(nodeId, "fs.read", read, new AbortController().signal)
        [Symbol.asyncIterator]();
      await frames.next();
      const next = assert.rejects(frames.next(), { code: "unreachable" });
      const call = assert.rejects(transport.call(nodeId, "node.stats", {}), { code: "unreachable" });
      await link.close();
      await Promise.all([next, call]);
    });

    it("lets its nodes go when it serves no more, and takes them back when it does again", async () => {
      const { handler, nodeId, link } = await openUp();
      await transport.unserve();
      assert.equal(transport.isConnected(nodeId), false);
      await assert.rejects(transport.call(nodeId, "node.stats", {}), { code: "unreachable" });
      await transport.serve(server);
      // A node behind a broker of its own notices by what is not answered; its heartbeats are.
      await eventually("the node is back", async () => {
        if (handler.connected)
          await link.call("node.heartbeat", { status: "ready" }, { timeout: 1_000 }).catch(() => undefined);
        return transport.isConnected(nodeId);
      });
      await eventually("the node knows", () => handler.connected);
      await link.call("node.heartbeat", { status: "ready" });
    });

    it("connects a hundred nodes at once and reaches each", async () => {
      const opened = await Promise.all(Array.from({ length: 100 }, () => open()));
      await eventually("all links", () => opened.every(({ nodeId }) => transport.isConnected(nodeId)));
      const answers = await Promise.all(
        opened.map(({ nodeId }) => transport.call(nodeId, "fs.list", { allocId: nodeId, path: "/" })),
      );
      assert.deepEqual(
        (answers as unknown as { request: { allocId: string } }[]).map((answer) => answer.request.allocId),
        opened.map(({ nodeId }) => nodeId),
      );
    });
  });
}
