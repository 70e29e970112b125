/** The listener's connections: bounded for each client address, and told apart by whether they have work. */
import type { Server } from "node:http";
import type { Socket } from "node:net";

export class Connections {
  readonly #open = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  readonly #busy = new Set<Socket>();
  readonly #refused = new WeakSet<Socket>();

  /** `limit` of each client address (`limits.http_max_conns_per_client`); 0: none. */
  constructor(readonly limit: number) {}

  watch(server: Server): void {
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => {
        this.#sockets.delete(socket);
        this.#busy.delete(socket);
      });
      if (this.limit > 0) this.#count(socket);
    });
  }

  /** A request came on the connection; `done` says that it is answered. */
  begin(socket: Socket): { done(): void } {
    this.#busy.add(socket);
    return { done: () => this.#busy.delete(socket) };
  }

  /** Node's own notion of idle leaves out connections that never carried a request. */
  closeIdle(): void {
    for (const socket of this.#sockets) {
      if (!this.#busy.has(socket)) socket.destroy();
    }
  }

  /** Whether a connection is one too many: its request is answered 429 and it is closed. */
  refuses(socket: Socket): boolean {
    return this.#refused.has(socket);
  }

  #count(socket: Socket): void {
    const address = socket.remoteAddress;
    // What a server of another region carries here is no client's connection, and is bounded as such.
    if (address === undefined) return;
    const open = (this.#open.get(address) ?? 0) + 1;
    this.#open.set(address, open);
    socket.once("close", () => {
      const left = (this.#open.get(address) ?? 1) - 1;
      if (left === 0) this.#open.delete(address);
      else this.#open.set(address, left);
    });
    // A connection somewhat over the limit may send a request, to be told why; beyond that there is no telling.
    if (open > this.limit * 2) socket.destroy();
    else if (open > this.limit) this.#refused.add(socket);
  }
}
