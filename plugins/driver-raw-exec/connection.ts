/** One connection of the driver to an executor. */
import { connect, type Socket } from "node:net";
import {
  type Answer,
  EXECUTOR_PROTOCOL,
  type ExecutorEvent,
  type ExecutorMethods,
  type Hello,
  readLines,
  sendLine,
} from "./executor/protocol.js";

/** How long an executor may take for its greeting, milliseconds. */
const HELLO_TIMEOUT = 5000;

export class ExecutorConnection {
  private readonly calls = new Map<
    number,
    { resolve: (answer: never) => void; reject: (error: Error) => void }
  >();
  private nextId = 1;
  private closed = false;

  private constructor(
    private readonly socket: Socket,
    readonly protocol: number,
    readonly pid: number,
  ) {}

  /** Whether this agent can talk to it beyond the greeting. */
  get compatible(): boolean {
    return this.protocol === EXECUTOR_PROTOCOL;
  }

  /** Rejects when nobody listens there or the greeting is none. */
  static open(
    path: string,
    onEvent: (event: ExecutorEvent) => void,
    onClose: () => void,
  ): Promise<ExecutorConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      let connection: ExecutorConnection | undefined;
      const timer = setTimeout(
        () => socket.destroy(new Error(`${path} did not greet in time`)),
        HELLO_TIMEOUT,
      );
      socket.on("error", reject);
      socket.on("close", () => {
        clearTimeout(timer);
        reject(new Error(`${path} closed the connection`));
        if (connection !== undefined) {
          connection.fail();
          onClose();
        }
      });
      readLines(socket, (message) => {
        if (connection !== undefined) {
          connection.take(message as Answer | ExecutorEvent, onEvent);
          return;
        }
        clearTimeout(timer);
        const hello = (message as Partial<Hello> | null)?.hello;
        if (typeof hello?.protocol !== "number" || typeof hello.pid !== "number") {
          socket.destroy(new Error(`${path} is not an executor's socket`));
          return;
        }
        connection = new ExecutorConnection(socket, hello.protocol, hello.pid);
        resolve(connection);
      });
    });
  }

  /** Rejects with the executor's error, or when the connection breaks. */
  call<M extends keyof ExecutorMethods>(
    method: M,
    request: ExecutorMethods[M]["request"],
  ): Promise<ExecutorMethods[M]["answer"]> {
    if (this.closed) return Promise.reject(new ConnectionLost());
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      sendLine(this.socket, { id, method, request });
    });
  }

  close(): void {
    this.socket.end();
    this.socket.unref();
  }

  private take(message: Answer | ExecutorEvent, onEvent: (event: ExecutorEvent) => void): void {
    if ("event" in message) {
      onEvent(message);
      return;
    }
    const call = this.calls.get(message.id);
    if (call === undefined) return;
    this.calls.delete(message.id);
    if ("error" in message) call.reject(new Error(message.error));
    else call.resolve(message.answer as never);
  }

  private fail(): void {
    this.closed = true;
    for (const call of this.calls.values()) call.reject(new ConnectionLost());
    this.calls.clear();
  }
}

export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
  constructor() {
    super("the connection to the executor was lost");
  }
}
