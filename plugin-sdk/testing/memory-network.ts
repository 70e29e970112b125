/** A network of servers inside one process, whose links a test cuts and mends. */
import { Duplex } from "node:stream";
import { errorFromWire, errorToWire } from "../contracts/rpc-errors.js";
import {
  type RpcCaller,
  RpcError,
  type RpcHandler,
  type RpcMethodOptions,
  type RpcOptions,
  type RpcStreamHandler,
  type ServerNetwork,
} from "../contracts/server-network.js";

interface Waiting {
  readonly from: string;
  readonly to: string;
  interrupt(): void;
}

/** Everything is delivered at once and in order; bodies are copied, as a wire does. */
export class MemoryNetwork {
  readonly #servers = new Map<string, MemoryServerNetwork>();
  readonly #cut = new Set<string>();
  readonly #waiting = new Set<Waiting>();

  /** The network as the server at `address` sees it. */
  join(address: string, region = "global"): ServerNetwork {
    const server = new MemoryServerNetwork(this, address, region);
    this.#servers.set(address, server);
    return server;
  }

  /** The server is gone: its links break, and nobody reaches it until it joins again. */
  leave(address: string): void {
    this.#servers.delete(address);
    this.#interrupt((waiting) => waiting.from === address || waiting.to === address);
  }

  /** Nothing gets from `from` to `to` any more; what is under way between them is interrupted. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from} ${to}`);
    this.#interrupt((waiting) => waiting.from === from && waiting.to === to);
  }

  /** Cuts a server off in both directions. */
  isolate(address: string): void {
    for (const other of this.#servers.keys()) {
      if (other === address) continue;
      this.cut(address, other);
      this.cut(other, address);
    }
  }

  mend(): void {
    this.#cut.clear();
  }

  /** @internal */
  reach(from: string, to: string): MemoryServerNetwork {
    const server = this.#servers.get(to);
    if (server === undefined || this.#cut.has(`${from} ${to}`)) {
      throw new RpcError("ERR_RPC_UNREACHABLE", `no connection from ${from} to ${to}`);
    }
    return server;
  }

  /** @internal */
  wait(waiting: Waiting): () => void {
    this.#waiting.add(waiting);
    return () => this.#waiting.delete(waiting);
  }

  #interrupt(which: (waiting: Waiting) => boolean): void {
    for (const waiting of [...this.#waiting]) {
      if (!which(waiting)) continue;
      this.#waiting.delete(waiting);
      waiting.interrupt();
    }
  }
}

interface Method<Handler> {
  readonly handler: Handler;
  readonly options: RpcMethodOptions;
}

const MAX_BODY = 16 * 1024 * 1024;
const MAX_ANSWER = 64 * 1024 * 1024;

class MemoryServerNetwork implements ServerNetwork {
  readonly #handlers = new Map<string, Method<RpcHandler>>();
  readonly #streams = new Map<string, Method<RpcStreamHandler>>();

  constructor(
    private readonly network: MemoryNetwork,
    private readonly address: string,
    private readonly region: string,
  ) {}

  async call(address: string, name: string, body: Uint8Array, options: RpcOptions): Promise<Uint8Array> {
    const method = this.#method(address, name, body, options, (other) => other.#handlers);
    const ended = new AbortController();
    return this.#until(address, name, options, (resolve, reject) => {
      method.handler(body.slice(), this.#caller(), ended.signal).then(
        (answer) => {
          const { maxAnswer = MAX_ANSWER } = method.options;
          if (answer.length > maxAnswer) {
            reject(new RpcError("ERR_RPC_TOO_LARGE", `the answer of ${name} has ${answer.length} bytes`));
          } else resolve(answer.slice());
        },
        (error: unknown) => reject(errorFromWire(errorToWire(error))),
      );
      return () => ended.abort();
    });
  }

  async stream(address: string, name: string, body: Uint8Array, options: RpcOptions): Promise<Duplex> {
    const method = this.#method(address, name, body, options, (other) => other.#streams);
    return this.#until(address, name, options, (resolve, reject) => {
      let open = false;
      const opened = () => {
        open = true;
        resolve(here);
      };
      const [here, there] = linkedPair(address, opened);
      const interrupt = () => {
        for (const end of [here, there]) end.destroy(broken(address));
      };
      const forget = this.network.wait({ from: this.address, to: address, interrupt });
      here.once("close", forget);
      method.handler(there, body.slice(), this.#caller()).then(opened, (error: unknown) => {
        if (!open) reject(errorFromWire(errorToWire(error)));
        there.destroy(error as Error);
      });
      return () => here.destroy();
    });
  }

  handle(method: string, handler: RpcHandler, options: RpcMethodOptions = {}): () => void {
    return register(this.#handlers, method, { handler, options });
  }

  handleStream(method: string, handler: RpcStreamHandler, options: RpcMethodOptions = {}): () => void {
    return register(this.#streams, method, { handler, options });
  }

  /** The other's method, if it would take the call. Throws an `RpcError`. */
  #method<Handler>(
    address: string,
    name: string,
    body: Uint8Array,
    { region = this.region }: RpcOptions,
    methods: (other: MemoryServerNetwork) => Map<string, Method<Handler>>,
  ): Method<Handler> {
    const other = this.network.reach(this.address, address);
    if (region !== "*" && region !== other.region) {
      throw new RpcError("ERR_RPC_REFUSED", `${address} is of region "${other.region}", not "${region}"`);
    }
    const method = methods(other).get(name);
    if (method === undefined) throw new RpcError("ERR_RPC_NO_METHOD", `${address} does not serve ${name}`);
    if (other.region !== this.region && method.options.otherRegions !== true) {
      throw new RpcError("ERR_RPC_REFUSED", `${name} is for region "${other.region}" alone`);
    }
    const { maxBody = MAX_BODY } = method.options;
    if (body.length > maxBody) {
      throw new RpcError("ERR_RPC_TOO_LARGE", `${name} takes ${maxBody} bytes, not ${body.length}`);
    }
    return method;
  }

  /** Runs `work` until it settles, the link breaks, the deadline passes or the signal aborts; `work` gives what ends it then. */
  #until<T>(
    address: string,
    name: string,
    { deadline, signal }: RpcOptions,
    work: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const abort = () => giveUp(new RpcError("ERR_RPC_INTERRUPTED", `${name} of ${address} was given up`));
      if (signal?.aborted) {
        reject(new RpcError("ERR_RPC_INTERRUPTED", `${name} of ${address} was given up`));
        return;
      }
      const settle = () => {
        clearTimeout(timer);
        forget();
        signal?.removeEventListener("abort", abort);
      };
      const giveUp = (error: Error) => {
        settle();
        end();
        reject(error);
      };
      const forget = this.network.wait({
        from: this.address,
        to: address,
        interrupt: () =>
          giveUp(new RpcError("ERR_RPC_INTERRUPTED", `the link to ${address} broke in ${name}`)),
      });
      const timer = setTimeout(
        () =>
          giveUp(new RpcError("ERR_RPC_DEADLINE", `${address} did not answer ${name} within ${deadline} ms`)),
        deadline,
      );
      signal?.addEventListener("abort", abort, { once: true });
      const end = work(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
    });
  }

  #caller(): RpcCaller {
    return { address: this.address };
  }
}

/** Two ends of a stream with back-pressure; one that breaks off breaks the other. `onFirst`: the second end wrote, or ended. */
function linkedPair(peer: string, onFirst: () => void): [Duplex, Duplex] {
  const ends: [LinkedEnd, LinkedEnd] = [new LinkedEnd(peer), new LinkedEnd(peer, onFirst)];
  ends[0].other = ends[1];
  ends[1].other = ends[0];
  return ends;
}

class LinkedEnd extends Duplex {
  other: LinkedEnd | undefined;
  /** A write of the other end that waits until this end is read. */
  #written: (() => void) | undefined;

  constructor(
    private readonly peer: string,
    private readonly onFirst: () => void = () => undefined,
  ) {
    super({ allowHalfOpen: true });
    this.on("error", () => undefined);
  }

  override _read(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.onFirst();
    const { other } = this;
    if (other === undefined || other.destroyed) return;
    if (other.push(Buffer.from(chunk))) callback();
    else other.#written = callback;
  }

  override _final(callback: () => void): void {
    this.onFirst();
    this.other?.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const { other } = this;
    if (other !== undefined && !other.destroyed && !(this.readableEnded && this.writableFinished)) {
      queueMicrotask(() => other.destroy(broken(this.peer)));
    }
    callback(error);
  }
}

const broken = (peer: string): RpcError => new RpcError("ERR_RPC_INTERRUPTED", `the stream to ${peer} broke`);

function register<T>(methods: Map<string, T>, name: string, method: T): () => void {
  if (methods.has(name)) throw new Error(`${name} has a handler already`);
  methods.set(name, method);
  return () => methods.delete(name);
}
