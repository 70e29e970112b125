/** A network of servers inside one process, whose links a test cuts and mends. */
import { Duplex, duplexPair } from "node:stream";
import {
  type RpcCaller,
  RpcError,
  type RpcHandler,
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
  join(address: string): ServerNetwork {
    const server = new MemoryServerNetwork(this, address);
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

class MemoryServerNetwork implements ServerNetwork {
  readonly #handlers = new Map<string, RpcHandler>();
  readonly #streams = new Map<string, RpcStreamHandler>();

  constructor(
    private readonly network: MemoryNetwork,
    private readonly address: string,
  ) {}

  async call(
    address: string,
    method: string,
    body: Uint8Array,
    { deadline, signal }: RpcOptions,
  ): Promise<Uint8Array> {
    const handler = this.network.reach(this.address, address).#handlers.get(method);
    if (handler === undefined) throw unknownMethod(address, method);
    const ended = new AbortController();
    return new Promise<Uint8Array>((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        forget();
        signal?.removeEventListener("abort", abort);
        act();
      };
      const fail = (error: Error) =>
        settle(() => {
          ended.abort();
          reject(error);
        });
      const abort = () => fail(new RpcError("ERR_RPC_INTERRUPTED", `${method} of ${address} was given up`));
      const forget = this.network.wait({
        from: this.address,
        to: address,
        interrupt: () =>
          fail(new RpcError("ERR_RPC_INTERRUPTED", `the link to ${address} broke in ${method}`)),
      });
      const timer = setTimeout(
        () =>
          fail(new RpcError("ERR_RPC_DEADLINE", `${address} did not answer ${method} within ${deadline} ms`)),
        deadline,
      );
      if (signal?.aborted) return abort();
      signal?.addEventListener("abort", abort, { once: true });
      handler(body.slice(), this.#caller(), ended.signal).then(
        (answer) => settle(() => resolve(answer.slice())),
        (error: Error) => settle(() => reject(error)),
      );
    });
  }

  async stream(address: string, method: string, body: Uint8Array, _options: RpcOptions): Promise<Duplex> {
    const handler = this.network.reach(this.address, address).#streams.get(method);
    if (handler === undefined) throw unknownMethod(address, method);
    const [here, there] = duplexPair();
    const ends = [here, there];
    breakTogether(here, there);
    breakTogether(there, here);
    const interrupt = () => {
      for (const end of ends)
        end.destroy(new RpcError("ERR_RPC_INTERRUPTED", `the link to ${address} broke`));
    };
    const forget = this.network.wait({ from: this.address, to: address, interrupt });
    here.once("close", forget);
    await new Promise<void>((resolve, reject) => {
      here.once("readable", resolve);
      here.once("error", reject);
      handler(there, body.slice(), this.#caller()).then(resolve, (error: Error) => {
        here.destroy();
        there.destroy();
        reject(error);
      });
    });
    return here;
  }

  handle(method: string, handler: RpcHandler): () => void {
    return register(this.#handlers, method, handler);
  }

  handleStream(method: string, handler: RpcStreamHandler): () => void {
    return register(this.#streams, method, handler);
  }

  #caller(): RpcCaller {
    return { address: this.address };
  }
}

/** A stream that is destroyed before it ended takes the other end with it, as on a wire. */
function breakTogether(end: Duplex, other: Duplex): void {
  end.once("close", () => {
    if (!end.writableFinished)
      other.destroy(new RpcError("ERR_RPC_INTERRUPTED", "the other end closed the stream"));
  });
}

function register<T>(handlers: Map<string, T>, method: string, handler: T): () => void {
  if (handlers.has(method)) throw new Error(`${method} has a handler already`);
  handlers.set(method, handler);
  return () => handlers.delete(method);
}

const unknownMethod = (address: string, method: string): RpcError =>
  new RpcError("ERR_RPC_NO_METHOD", `${address} does not serve ${method}`);
