/** The answering side: judges a request, reads its body, runs the handler, answers. */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type Logger, type Metrics, type RpcCaller, RpcError } from "@drover/plugin-sdk";
import type { Budget } from "./budget.js";
import type { Method, Methods } from "./methods.js";
import { Repeated } from "./repeated.js";
import { RpcStream } from "./rpc-stream.js";
import { encodeError, HEADER, type Kind, LIMITS, numberOf, PROTOCOL_VERSION } from "./wire.js";

export interface IncomingOptions {
  readonly methods: Methods;
  readonly budget: Budget;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One accepted connection. */
export interface Connection {
  readonly caller: RpcCaller;
  /** Why nothing is served on it. */
  readonly refusal?: string;
  /** Streams (not calls) under way. */
  openStreams: number;
}

interface Request {
  readonly name: string;
  readonly method: Method;
  readonly length: number;
  /** Milliseconds; undefined where the caller gave none. */
  readonly deadline: number;
}

/** Longest deadline that is kept, milliseconds: an hour and some more than a blocking query may take. */
const MAX_DEADLINE = 2 * 60 * 60 * 1000;

export class Incoming {
  readonly #repeated = new Repeated();

  constructor(private readonly options: IncomingOptions) {}

  /** Never throws: what is wrong is answered. */
  accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection): void {
    // A stream that breaks closes; what waits for it learns of it there.
    stream.on("error", () => undefined);
    this.options.metrics.increment("nomad.rpc.request");
    const begin = performance.now();
    let request: Request;
    try {
      request = this.#request(headers, connection);
    } catch (error) {
      this.#refuse(stream, error as RpcError, connection);
      return;
    }
    const { name, method, length } = request;
    const release = this.options.budget.take(length);
    if (release === undefined) {
      this.#answerError(stream, new RpcError("ERR_RPC_BUSY", "too many bytes of calls are under way there"));
      return;
    }
    stream.once("close", release);
    stream.once("close", () => {
      this.options.metrics.sample("nomad.rpc.request_time", performance.now() - begin, { method: name });
    });
    readBody(stream, length, method.kind === "stream", (body, surplus) => {
      if (body === undefined) {
        this.#answerError(
          stream,
          new RpcError("ERR_RPC_REFUSED", "the body is not of the length that it says"),
        );
      } else if (method.kind === "call") void this.#call(stream, request, body, connection.caller);
      else {
        if (surplus !== undefined) stream.unshift(surplus);
        void this.#stream(stream, request, body, connection);
      }
    });
  }

  /** Throws an `RpcError`. */
  #request(headers: IncomingHttpHeaders, connection: Connection): Request {
    if (connection.refusal !== undefined) throw new RpcError("ERR_RPC_REFUSED", connection.refusal);
    const version = headers[HEADER.version];
    if (version !== PROTOCOL_VERSION) {
      throw new RpcError(
        "ERR_RPC_REFUSED",
        version === undefined
          ? "this is the port of the servers of Drover among themselves; the HTTP API has another (4646)"
          : `the caller speaks version ${String(version)} of the protocol between servers, this server ${PROTOCOL_VERSION}`,
      );
    }
    const kind = headers[HEADER.kind] as Kind;
    const name = String(headers[":path"]).slice(1);
    const [claimed, target] = [headers[HEADER.region], headers[HEADER.target]];
    const length = numberOf(headers[HEADER.length]);
    const deadline = numberOf(headers[HEADER.deadline]);
    if (
      typeof claimed !== "string" ||
      typeof target !== "string" ||
      length === undefined ||
      deadline === undefined
    ) {
      throw new RpcError("ERR_RPC_REFUSED", "the call lacks its region, target, length or deadline");
    }
    const method = this.options.methods.find(name, kind, connection.caller, claimed, target);
    if (length > method.maxBody) {
      throw new RpcError(
        "ERR_RPC_TOO_LARGE",
        `the body has ${length} bytes, and ${name} takes ${method.maxBody}`,
      );
    }
    if (kind === "stream" && connection.openStreams >= LIMITS.openStreams) {
      throw new RpcError("ERR_RPC_BUSY", `the caller has ${connection.openStreams} streams open already`);
    }
    return { name, method, length, deadline: Math.min(deadline, MAX_DEADLINE) };
  }

  async #call(stream: ServerHttp2Stream, request: Request, body: Buffer, caller: RpcCaller): Promise<void> {
    const { name, method, deadline } = request;
    const over = new AbortController();
    const timer = setTimeout(() => {
      const error = new RpcError("ERR_RPC_DEADLINE", `${name} was not done within ${deadline} ms`);
      over.abort(error);
      this.#answerError(stream, error);
    }, deadline);
    stream.once("close", () => {
      clearTimeout(timer);
      over.abort(new RpcError("ERR_RPC_INTERRUPTED", "the caller is gone"));
    });
    try {
      if (method.kind !== "call") return;
      const answer = await method.handler(body, caller, over.signal);
      if (answer.length > method.maxAnswer) {
        throw new RpcError(
          "ERR_RPC_TOO_LARGE",
          `the answer has ${answer.length} bytes, and ${name} gives at most ${method.maxAnswer}`,
        );
      }
      this.#answer(stream, answer);
    } catch (error) {
      this.#answerError(stream, error, name);
    } finally {
      clearTimeout(timer);
    }
  }

  async #stream(
    stream: ServerHttp2Stream,
    request: Request,
    body: Buffer,
    connection: Connection,
  ): Promise<void> {
    const { name, method, deadline } = request;
    const { caller } = connection;
    connection.openStreams++;
    stream.once("close", () => connection.openStreams--);
    const open = () => {
      clearTimeout(timer);
      if (!stream.headersSent && !stream.destroyed) stream.respond(head(200, 0));
    };
    const ours = new RpcStream(stream, { peer: caller.address, onFirstWrite: open });
    const timer = setTimeout(
      () => fail(new RpcError("ERR_RPC_DEADLINE", `${name} was not open within ${deadline} ms`)),
      deadline,
    );
    stream.once("close", () => clearTimeout(timer));
    const fail = (error: unknown) => {
      clearTimeout(timer);
      if (stream.headersSent || stream.destroyed) {
        this.#failed(name, error);
        ours.destroy(error as Error);
      } else this.#answerError(stream, error, name);
    };
    try {
      if (method.kind !== "stream") return;
      await method.handler(ours, body, caller);
      open();
    } catch (error) {
      fail(error);
    }
  }

  #answer(stream: ServerHttp2Stream, answer: Uint8Array): void {
    if (stream.destroyed || stream.headersSent) return;
    const release = this.options.budget.take(answer.length);
    if (release === undefined) {
      this.#answerError(
        stream,
        new RpcError("ERR_RPC_BUSY", "too many bytes of answers are under way there; the call was done"),
      );
      return;
    }
    stream.once("close", release);
    stream.respond(head(200, answer.length));
    stream.end(answer);
  }

  #answerError(stream: ServerHttp2Stream, error: unknown, name?: string): void {
    if (name !== undefined) this.#failed(name, error);
    else this.options.metrics.increment("nomad.rpc.request_error");
    if (stream.destroyed || stream.headersSent) return;
    const bytes = encodeError(error);
    stream.respond(head(500, bytes.length));
    // A caller that is still sending is told to stop, after it was told why.
    stream.end(bytes, () => stream.close(constants.NGHTTP2_NO_ERROR));
  }

  #failed(name: string, error: unknown): void {
    this.options.metrics.increment("nomad.rpc.request_error");
    this.options.log.debug({ method: name, err: error }, "a call of another server failed");
  }

  #refuse(stream: ServerHttp2Stream, error: RpcError, { caller }: Connection): void {
    if (
      error.code === "ERR_RPC_REFUSED" &&
      this.#repeated.isDue(`${caller.address.replace(/:\d+$/, "")} ${error.message}`)
    ) {
      this.options.log.warn({ peer: caller.address, reason: error.message }, "call of a peer refused");
    }
    this.#answerError(stream, error);
  }
}

const head = (status: number, length: number) => ({
  [constants.HTTP2_HEADER_STATUS]: status,
  [HEADER.version]: PROTOCOL_VERSION,
  [HEADER.length]: String(length),
});

/**
 * Gives the first `length` bytes, and with `open` what came behind them; undefined where there are fewer, or (without `open`)
 * more. Says nothing of a stream that broke.
 */
function readBody(
  stream: ServerHttp2Stream,
  length: number,
  open: boolean,
  done: (body: Buffer | undefined, surplus?: Buffer) => void,
): void {
  const parts: Buffer[] = [];
  let received = 0;
  const settle = (body: Buffer | undefined, surplus?: Buffer) => {
    stream.off("data", take).off("end", ended);
    done(body, surplus);
  };
  const take = (chunk: Buffer) => {
    parts.push(chunk);
    received += chunk.length;
    if (open && received >= length) {
      stream.pause();
      const all = Buffer.concat(parts, received);
      settle(all.subarray(0, length), received > length ? all.subarray(length) : undefined);
    } else if (received > length) settle(undefined);
  };
  const ended = () => {
    if (stream.aborted || stream.destroyed) return;
    settle(
      received === length ? (parts.length === 1 ? parts[0] : Buffer.concat(parts, received)) : undefined,
    );
  };
  if (open && length === 0) {
    done(Buffer.alloc(0));
    return;
  }
  stream.on("data", take).once("end", ended);
}
