/** The calling side: finds a session, sends the request, judges the answer. */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { RpcError, type RpcOptions } from "@drover/plugin-sdk";
import type { Budget } from "./budget.js";
import { Deadline } from "./deadline.js";
import type { PeerSession } from "./peer-session.js";
import { RpcStream } from "./rpc-stream.js";
import { decodeError, HEADER, type Kind, LIMITS, numberOf, PROTOCOL_VERSION } from "./wire.js";

/** The other end did not take the request; it may be sent again. */
const NOT_TAKEN = Symbol("not taken");
const TRIES = 3;

export interface OutgoingOptions {
  readonly region: string;
  readonly budget: Budget;
  /** A session to the address; rejects with an `RpcError`. */
  session(address: string, region: string): Promise<PeerSession>;
}

export class Outgoing {
  constructor(private readonly options: OutgoingOptions) {}

  call(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Uint8Array> {
    return this.#send(address, method, "call", body, options, (stream, session, end) =>
      this.#answer(stream, session, `${method} of ${address}`, end),
    );
  }

  stream(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Duplex> {
    return this.#send(address, method, "stream", body, options, (stream, session, end) =>
      this.#opened(stream, session, `${method} of ${address}`, end),
    );
  }

  async #send<T>(
    address: string,
    method: string,
    kind: Kind,
    body: Uint8Array,
    options: RpcOptions,
    receive: (stream: ClientHttp2Stream, session: PeerSession, deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const release = this.options.budget.take(body.length);
    if (release === undefined) {
      throw new RpcError(
        "ERR_RPC_BUSY",
        `${method} of ${address}: too many bytes of calls are under way here`,
      );
    }
    const deadline = new Deadline(options, `${method} of ${address}`);
    try {
      const region = options.region ?? this.options.region;
      for (let tries = 1; ; tries++) {
        const session = await deadline.connecting(this.options.session(address, region));
        try {
          return await receive(
            this.#request(session, method, kind, body, region, deadline),
            session,
            deadline,
          );
        } catch (error) {
          if (error !== NOT_TAKEN) throw error;
          if (tries === TRIES || session.usable) {
            throw new RpcError("ERR_RPC_BUSY", `${address} takes no more calls at the moment (${method})`);
          }
        }
      }
    } finally {
      deadline.clear();
      release();
    }
  }

  #request(
    session: PeerSession,
    method: string,
    kind: Kind,
    body: Uint8Array,
    region: string,
    deadline: Deadline,
  ): ClientHttp2Stream {
    const { address } = session;
    const most = Math.min(
      LIMITS.sessionStreams,
      session.http2.remoteSettings.maxConcurrentStreams ?? LIMITS.sessionStreams,
    );
    if (session.underWay >= most || (kind === "stream" && session.openStreams >= LIMITS.openStreams)) {
      throw new RpcError(
        "ERR_RPC_BUSY",
        `${method} of ${address}: ${session.underWay} calls to it are under way already`,
      );
    }
    const stream = session.http2.request(
      {
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: `/${method}`,
        [HEADER.version]: PROTOCOL_VERSION,
        [HEADER.kind]: kind,
        [HEADER.region]: this.options.region,
        [HEADER.target]: region,
        [HEADER.deadline]: String(Math.max(1, Math.ceil(deadline.left()))),
        [HEADER.length]: String(body.length),
      },
      { endStream: false },
    );
    session.underWay++;
    if (kind === "stream") session.openStreams++;
    stream.once("close", () => {
      session.underWay--;
      if (kind === "stream") session.openStreams--;
      session.touch();
    });
    if (kind === "call") stream.end(body);
    else if (body.length > 0) stream.write(body);
    return stream;
  }

  #answer(
    stream: ClientHttp2Stream,
    session: PeerSession,
    what: string,
    deadline: Deadline,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      let release: (() => void) | undefined;
      let stop = (): void => undefined;
      const settle = (act: () => void) => {
        release?.();
        stop();
        act();
      };
      const fail = (error: unknown) =>
        settle(() => {
          if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
          reject(error);
        });
      stop = deadline.watch(fail);
      const parts: Buffer[] = [];
      let received = 0;
      let head: Head | undefined;
      stream.once("response", (headers) => {
        try {
          head = readHead(headers, what);
          release = this.options.budget.take(head.length);
          if (release === undefined) {
            throw new RpcError(
              "ERR_RPC_BUSY",
              `the answer to ${what} has ${head.length} bytes, more than there is room for now`,
            );
          }
        } catch (error) {
          fail(error);
        }
      });
      stream.on("data", (chunk: Buffer) => {
        received += chunk.length;
        if (head !== undefined && received <= head.length) parts.push(chunk);
        else fail(new RpcError("ERR_RPC_REFUSED", `the answer to ${what} is longer than it says`));
      });
      stream.once("close", () => {
        if (head !== undefined && received === head.length) {
          const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts, received);
          const { ok } = head;
          settle(() => (ok ? resolve(bytes) : reject(decodeError(bytes))));
        } else fail(broken(stream, session, what));
      });
      stream.on("error", () => undefined);
    });
  }

  #opened(
    stream: ClientHttp2Stream,
    session: PeerSession,
    what: string,
    deadline: Deadline,
  ): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      let stop = (): void => undefined;
      const settle = (act: () => void) => {
        stop();
        stream.off("close", closed);
        act();
      };
      const fail = (error: unknown) =>
        settle(() => {
          if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
          reject(error);
        });
      const closed = () => fail(broken(stream, session, what));
      stop = deadline.watch(fail);
      stream.on("error", () => undefined);
      stream.once("close", closed);
      stream.once("response", (headers) => {
        try {
          const head = readHead(headers, what);
          if (head.ok) {
            settle(() => resolve(new RpcStream(stream, { peer: session.address })));
            return;
          }
          const parts: Buffer[] = [];
          stream.on("data", (chunk: Buffer) => void parts.push(chunk));
          stream.once("end", () => fail(decodeError(Buffer.concat(parts))));
        } catch (error) {
          fail(error);
        }
      });
    });
  }
}

interface Head {
  readonly ok: boolean;
  /** Bytes of the answer; of a stream 0. */
  readonly length: number;
}

function readHead(headers: IncomingHttpHeaders & { ":status"?: number }, what: string): Head {
  const version = headers[HEADER.version];
  if (version === undefined) {
    throw new RpcError("ERR_RPC_REFUSED", `${what}: what listens there is no server of Drover`);
  }
  const ok = headers[":status"] === 200;
  // A refusal is worth reading whatever the version of the one who refuses.
  if (ok && version !== PROTOCOL_VERSION) {
    throw new RpcError(
      "ERR_RPC_REFUSED",
      `${what}: it speaks version ${String(version)} of the protocol between servers, this one ${PROTOCOL_VERSION}`,
    );
  }
  const length = numberOf(headers[HEADER.length]) ?? 0;
  if (!ok && length > LIMITS.errorBody)
    throw new RpcError("ERR_RPC_REFUSED", `${what}: its error is too long`);
  return { ok, length };
}

/** Why a stream closed without an answer. */
function broken(stream: ClientHttp2Stream, session: PeerSession, what: string): unknown {
  switch (stream.rstCode) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return NOT_TAKEN;
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return new RpcError("ERR_RPC_BUSY", `${session.address} holds too much already (${what})`);
    default:
      return new RpcError("ERR_RPC_INTERRUPTED", `the connection broke in ${what}`);
  }
}
