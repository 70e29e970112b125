/** Bounds the connections of one client address (`limits.http_max_conns_per_client`). */
import type { Server } from "node:http";
import type { Socket } from "node:net";

export class ConnectionLimit {
  readonly #open = new Map<string, number>();
  readonly #refused = new WeakSet<Socket>();

  /** `limit` 0: none. */
  constructor(readonly limit: number) {}

  watch(server: Server): void {
    if (this.limit > 0) server.on("connection", (socket: Socket) => this.#count(socket));
  }

  /** Whether a connection is one too many: its request is answered 429 and it is closed. */
  refuses(socket: Socket): boolean {
    return this.#refused.has(socket);
  }

  #count(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
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
