import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, describe, it } from "node:test";
import type { Metrics, RpcError } from "@drover/plugin-sdk";
import { eventually, quietMetrics } from "@drover/plugin-sdk/testing";
import type { NetworkOptions } from "../../../../core/rpc/network/http2-network.js";
import { openNetwork, recordingLogger } from "./support.js";

const soon = { deadline: 10_000 };
const nothing = new Uint8Array();

describe("Http2Network", () => {
  const stops: (() => unknown)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });
  const open = async (options: Partial<NetworkOptions> = {}) => {
    const { log, lines } = recordingLogger();
    const opened = await openNetwork({ log, ...options });
    stops.push(opened.stop);
    opened.network.handle("Test.Echo", async (body) => body);
    return { ...opened, lines };
  };
  const echo = async (from: Awaited<ReturnType<typeof open>>, address: string, text = "x") =>
    Buffer.from(await from.network.call(address, "Test.Echo", Buffer.from(text), soon)).toString();

  it("uses one session for many calls and streams of an address", async () => {
    const [a, b] = [await open(), await open()];
    await Promise.all(Array.from({ length: 50 }, () => echo(a, b.address)));
    assert.equal(a.network.outgoingSessions, 1);
  });

  it("drops what is not ours, logs it at debug, and goes on serving", async () => {
    const [a, b] = [await open(), await open()];
    await echo(a, b.address);
    const port = b.network.address()!.port;
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const inputs = [
      Buffer.from("GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n"),
      Buffer.concat([Buffer.from([0]), randomBytes(5000)]),
      Buffer.concat([Buffer.from(preface), Buffer.alloc(5000, 0xff)]),
      Buffer.from(preface.replace("SM", "XX")),
    ];
    for (const input of inputs) {
      const before = b.lines.length;
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined).resume();
      socket.write(input);
      await once(socket, "close");
      await eventually("a line about it", () => b.lines.length > before);
    }
    assert.ok(
      b.lines.every(({ level }) => level === "debug"),
      JSON.stringify(b.lines),
    );
    assert.equal(await echo(a, b.address), "x");
  });

  it("takes a connection that begins a byte at a time, and drops one that says nothing in its time", async () => {
    const b = await open({ handshakeTimeout: 300 });
    const port = b.network.address()!.port;
    const silent = connect(port, "127.0.0.1");
    silent.resume();
    const slow = connect(port, "127.0.0.1");
    const session = connectHttp2("http://x", { createConnection: () => slow });
    await once(session, "remoteSettings");
    session.close();
    await once(silent, "close");
    assert.ok(b.lines.some(({ text }) => /it said nothing/.test(text)));
  });

  it("refuses a peer of another version of the protocol, at both ends in words", async () => {
    const b = await open();
    const session = connectHttp2(`http://${b.address}`);
    stops.push(() => session.destroy());
    const request = session.request({
      ":method": "POST",
      ":path": "/Test.Echo",
      "drover-rpc": "99",
      "drover-kind": "call",
      "drover-region": "global",
      "drover-target": "global",
      "drover-deadline": "1000",
      "drover-length": "0",
    });
    request.end();
    let answer = "";
    for await (const part of request) answer += String(part);
    assert.match(answer, /ERR_RPC_REFUSED/);
    assert.match(answer, /the caller speaks version 99 of the protocol between servers, this server 1/);
    await eventually("the server's log", () =>
      b.lines.some(({ level, text }) => level === "warn" && /version 99/.test(text)),
    );
  });

  it("refuses an answer of something else that speaks HTTP/2, and one of another version", async () => {
    const a = await open();
    const { createServer: createHttp2 } = await import("node:http2");
    for (const [headers, words] of [
      [{}, /no server of Drover/],
      [{ "drover-rpc": "2", "drover-length": "0" }, /speaks version 2 .* this one 1/],
    ] as const) {
      const other = createHttp2();
      other.on("stream", (stream) => {
        stream.on("error", () => undefined);
        stream.respond({ ":status": 200, ...headers });
        stream.end();
      });
      const sessions: { destroy(): void }[] = [];
      other.on("session", (session) => sessions.push(session));
      await new Promise<void>((resolve) => void other.listen(0, "127.0.0.1", resolve));
      stops.push(() => {
        for (const session of sessions) session.destroy();
        other.close();
      });
      const { port } = other.address() as { port: number };
      await assert.rejects(echo(a, `127.0.0.1:${port}`), { code: "ERR_RPC_REFUSED", message: words });
    }
  });

  it("says that what listens does not answer as a server would, and that an address is none", async () => {
    const a = await open({ handshakeTimeout: 200 });
    const silent = createServer((socket) => void socket.resume());
    await new Promise<void>((resolve) => void silent.listen(0, "127.0.0.1", resolve));
    stops.push(() => silent.close());
    const { port } = silent.address() as { port: number };
    await assert.rejects(echo(a, `127.0.0.1:${port}`), {
      code: "ERR_RPC_UNREACHABLE",
      message: /said nothing within 200 ms/,
    });
    await assert.rejects(echo(a, "no-port"), {
      code: "ERR_RPC_UNREACHABLE",
      message: /"no-port" is not an address/,
    });
  });

  it("takes no more connections of one address than it is told, and says so once", async () => {
    const b = await open({ maxConnections: 3 });
    const port = b.network.address()!.port;
    const sockets = Array.from({ length: 3 }, () => connect(port, "127.0.0.1"));
    stops.push(() => sockets.forEach((socket) => void socket.destroy()));
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    for (let more = 0; more < 3; more++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined).resume();
      await once(socket, "close");
    }
    const lines = b.lines.filter(({ level }) => level === "warn");
    assert.equal(lines.length, 1);
    assert.match(lines[0]!.text, /limits\.rpc_max_conns_per_client/);
    sockets[0]!.destroy();
    const a = await open();
    await eventually("room for another", async () => (await echo(a, b.address)) === "x");
  });

  it("refuses calls as busy while too many bytes are under way, and holds none when they are over", async () => {
    const [a, b] = [await open(), await open({ inFlight: 1_000_000 })];
    let waiting: (() => void)[] = [];
    b.network.handle("Test.Hold", () => new Promise((resolve) => waiting.push(() => resolve(nothing))));
    const body = Buffer.alloc(400_000);
    const held = [1, 2].map(() => a.network.call(b.address, "Test.Hold", body, soon));
    await eventually("both to arrive", () => waiting.length === 2);
    assert.equal(b.network.bytesInFlight, 800_000);
    await assert.rejects(a.network.call(b.address, "Test.Hold", body, soon), { code: "ERR_RPC_BUSY" });
    assert.equal(await echo(a, b.address), "x");
    for (const release of waiting) release();
    waiting = [];
    await Promise.all(held);
    await eventually(
      "nothing to be held",
      () => a.network.bytesInFlight === 0 && b.network.bytesInFlight === 0,
    );
  });

  it("holds no bytes after calls that were refused, broken off or late", async () => {
    const [a, b] = [await open(), await open()];
    b.network.handle("Test.Never", () => new Promise(() => undefined));
    b.network.handle("Test.Small", async () => nothing, { maxBody: 10 });
    const body = Buffer.alloc(3_000_000);
    // Connecting is not what is timed here.
    await echo(a, b.address);
    await assert.rejects(a.network.call(b.address, "Test.Never", body, { deadline: 50 }), {
      code: "ERR_RPC_DEADLINE",
    });
    await assert.rejects(a.network.call(b.address, "Test.Small", body, soon), { code: "ERR_RPC_TOO_LARGE" });
    await assert.rejects(a.network.call(b.address, "Test.Gone", body, soon), { code: "ERR_RPC_NO_METHOD" });
    const abort = new AbortController();
    const call = a.network.call(b.address, "Test.Never", body, { ...soon, signal: abort.signal });
    setImmediate(() => abort.abort());
    await assert.rejects(call, { code: "ERR_RPC_INTERRUPTED" });
    await eventually(
      "nothing to be held",
      () => a.network.bytesInFlight === 0 && b.network.bytesInFlight === 0,
    );
    assert.equal(await echo(a, b.address), "x");
  });

  it("refuses the streams of one session beyond its bound as busy, and calls go on beside them", async () => {
    const [a, b] = [await open(), await open()];
    b.network.handleStream("Test.Open", async (there) => void there.write("x"));
    const streams: Duplex[] = [];
    for (let index = 0; index < 64; index++)
      streams.push(await a.network.stream(b.address, "Test.Open", nothing, soon));
    await assert.rejects(a.network.stream(b.address, "Test.Open", nothing, soon), { code: "ERR_RPC_BUSY" });
    assert.equal(await echo(a, b.address), "x");
    streams[0]!.destroy();
    await eventually("room for another", () => a.network.stream(b.address, "Test.Open", nothing, soon));
  });

  it("keeps of a stream that nobody reads no more than its window", async () => {
    const [a, b] = [await open(), await open()];
    let sent = 0;
    b.network.handleStream("Test.Pour", async (there) => {
      const chunk = Buffer.alloc(64 * 1024);
      there.on("error", () => undefined);
      for (;;) {
        sent += chunk.length;
        if (!there.write(chunk)) await once(there, "drain");
      }
    });
    const stream = await a.network.stream(b.address, "Test.Pour", nothing, soon);
    let before = -1;
    await eventually("the writer to be held back", async () => {
      if (sent === before) return true;
      before = sent;
      await echo(a, b.address);
      return false;
    });
    // Its window, and what Node's buffers at both ends hold of it.
    assert.ok(sent <= 3 * 1024 * 1024, `${sent} bytes were taken from the writer`);
    stream.destroy();
  });

  it("finds a server again that was away", async () => {
    const a = await open();
    const first = await open();
    const { port } = first.network.address()!;
    await echo(a, first.address);
    await first.stop();
    await assert.rejects(echo(a, first.address), { code: "ERR_RPC_UNREACHABLE" });
    await open({ port });
    await eventually("it to be reached again", async () => (await echo(a, first.address)) === "x");
  });

  it("closes a session that is idle, and one whose peer answers no ping", async () => {
    const a = await open({ times: { ping: 500, idle: 700 } });
    const b = await open();
    await echo(a, b.address);
    await eventually("the idle session to be closed", () => a.network.outgoingSessions === 0);
    assert.equal(await echo(a, b.address), "x");

    // Between them something that stops carrying bytes, as a network that is cut does.
    const pairs: [Socket, Socket][] = [];
    const proxy = createServer((from) => {
      const to = connect(b.network.address()!.port, "127.0.0.1");
      pairs.push([from, to]);
      for (const socket of [from, to]) socket.on("error", () => undefined);
      from.pipe(to).pipe(from);
    });
    await new Promise<void>((resolve) => void proxy.listen(0, "127.0.0.1", resolve));
    stops.push(() => {
      for (const socket of pairs.flat()) socket.destroy();
      proxy.close();
    });
    const address = `127.0.0.1:${(proxy.address() as { port: number }).port}`;
    b.network.handle("Test.Never", () => new Promise(() => undefined));
    await echo(a, address);
    const call = a.network.call(address, "Test.Never", nothing, soon);
    for (const [from, to] of pairs) {
      from.unpipe(to).pause();
      to.unpipe(from).pause();
    }
    await assert.rejects(
      call,
      (error: RpcError) => error.code === "ERR_RPC_INTERRUPTED" && error.outcomeUnknown,
    );
  });

  it("says which port is taken and what to do", async () => {
    const first = await open();
    await assert.rejects(open({ port: first.network.address()!.port }), /port is in use.*ports\.rpc/);
  });

  it("counts requests and errors, times methods, and shows its sessions", async () => {
    const seen: string[] = [];
    const readers = new Set<() => void>();
    const metrics: Metrics = {
      ...quietMetrics,
      increment: (name) => void seen.push(name),
      sample: (name, _value, labels) => void seen.push(`${name} ${labels?.method}`),
      gauge: (name, value, labels) => void seen.push(`${name} ${labels?.direction} ${value}`),
      onCollect: (read) => {
        readers.add(read);
        return () => readers.delete(read);
      },
    };
    const [a, b] = [await open(), await open({ metrics })];
    await echo(a, b.address);
    await assert.rejects(a.network.call(b.address, "Test.Gone", nothing, soon));
    await eventually("the sample", () => seen.includes("nomad.rpc.request_time Test.Echo"));
    for (const read of readers) read();
    assert.equal(seen.filter((name) => name === "nomad.rpc.request").length, 2);
    assert.equal(seen.filter((name) => name === "nomad.rpc.request_error").length, 1);
    assert.ok(seen.includes("nomad.rpc.sessions in 1"), seen.join());
    await b.network.stop();
    assert.equal(readers.size, 0);
  });
});
