/** An executor as the driver sees it: connected, reconnected after a hiccup, or lost with all its tasks. */
import { ConnectionLost, ExecutorConnection } from "./connection.js";
import { isAlive, type ProcessIdentity, readStat } from "./executor/proc.js";
import type { ExecutorEvent, ExecutorMethods } from "./executor/protocol.js";

/** Attempts to reach a living executor again, and the pause between them in milliseconds. */
const RECONNECT_ATTEMPTS = 50;
const RECONNECT_PAUSE = 100;

export interface ExecutorListener {
  event(executor: ExecutorHandle, event: ExecutorEvent): void;
  /** It answers again: what happened in between must be asked for. */
  reconnected(executor: ExecutorHandle): void;
  /** The process is gone, or so broken that it was given up. */
  lost(executor: ExecutorHandle, reason: string): void;
}

export class ExecutorHandle {
  private closing = false;
  /** Pending while reconnecting; rejects once the executor is lost. */
  private ready: Promise<ExecutorConnection>;

  private constructor(
    /** File name of its socket. */
    readonly name: string,
    private readonly path: string,
    private readonly listener: ExecutorListener,
    connection: ExecutorConnection,
    readonly identity: ProcessIdentity,
    readonly protocol: number,
    /** Whether this agent can give it orders. */
    readonly compatible: boolean,
  ) {
    this.ready = Promise.resolve(connection);
  }

  /** Rejects when no executor answers at `path`. */
  static async open(name: string, path: string, listener: ExecutorListener): Promise<ExecutorHandle> {
    let handle: ExecutorHandle | undefined;
    const connection = await ExecutorConnection.open(
      path,
      (event) => {
        if (handle !== undefined) listener.event(handle, event);
      },
      () => handle?.disconnected(),
    );
    const identity = { pid: connection.pid, startTime: readStat(connection.pid)?.startTime ?? 0 };
    handle = new ExecutorHandle(
      name,
      path,
      listener,
      connection,
      identity,
      connection.protocol,
      connection.compatible,
    );
    return handle;
  }

  /** Waits out a broken connection; only a start isn't repeated, because it may have happened. */
  async call<M extends keyof ExecutorMethods>(
    method: M,
    request: ExecutorMethods[M]["request"],
  ): Promise<ExecutorMethods[M]["answer"]> {
    for (;;) {
      const connection = await this.ready;
      try {
        return await connection.call(method, request);
      } catch (error) {
        if (!(error instanceof ConnectionLost) || method === "start" || this.closing) throw error;
        // Until the socket's end is noticed, `ready` is still the broken connection.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  async close(): Promise<void> {
    this.closing = true;
    (await this.ready).close();
  }

  /** Kills its tasks and ends it; resolves when it said so. */
  async shutdown(): Promise<void> {
    this.closing = true;
    const connection = await this.ready;
    try {
      await connection.call("shutdown", {});
    } catch (error) {
      // It may close the connection faster than it answers.
      if (!(error instanceof ConnectionLost)) throw error;
    }
    connection.close();
  }

  private disconnected(): void {
    if (this.closing) return;
    this.ready = this.reconnect();
    this.ready.then(
      () => this.listener.reconnected(this),
      (error: Error) => {
        if (!this.closing) this.listener.lost(this, error.message);
      },
    );
  }

  private async reconnect(): Promise<ExecutorConnection> {
    let reason = `process ${this.identity.pid} has ended`;
    for (let attempt = 0; attempt < RECONNECT_ATTEMPTS; attempt += 1) {
      if (this.closing || !isAlive(this.identity)) break;
      try {
        return await ExecutorConnection.open(
          this.path,
          (event) => this.listener.event(this, event),
          () => this.disconnected(),
        );
      } catch (error) {
        reason = (error as Error).message;
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE));
      }
    }
    throw new Error(`executor lost: ${reason}`);
  }
}
