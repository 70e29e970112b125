import type { Duplex } from "node:stream";
import { type Logger, RpcError, type ServerNetwork } from "@drover/plugin-sdk";
import { readFrames, writeFrame } from "@drover/plugin-sdk/consensus";
import { Complaints } from "./complaints.js";
import type { Message } from "./core/types.js";
import { decodeHello, encodeHello, type Hello, refusal } from "./hello.js";
import { encodeMessage } from "./message-codec.js";

export const MESSAGES_METHOD = "Raft.Messages";
/** Bytes and messages that wait for a slow peer; what comes then is dropped, and Raft sends it again. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
const MAX_QUEUED = 4096;
/** Milliseconds between two tries of a peer that can't be reached: doubled each time, up to the second. */
const FIRST_RETRY = 50;
const LAST_RETRY = 1000;
const MAX_GREETING = 64 * 1024;

export interface LinkParts {
  readonly network: ServerNetwork;
  readonly log: Logger;
  /** Milliseconds to open the stream. */
  readonly deadline: number;
  /** What this server says of itself to `to`. */
  greet(to: string): Hello;
}

/** The way of raft messages to one server: a stream that is opened when it is needed, and again when it broke. */
export class PeerLink {
  #state: "idle" | "opening" | "open" | "down" | "closed" = "idle";
  #stream: Duplex | undefined;
  /** Encoded messages that the stream did not take yet. */
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #blocked = false;
  #failures = 0;
  #retryAt = 0;
  readonly #complaints = new Complaints();
  readonly #abort = new AbortController();

  constructor(
    readonly id: string,
    readonly address: string,
    private readonly parts: LinkParts,
  ) {}

  /** Sends in order, or drops: an unreachable or overloaded server is no reason to keep memory or wait. */
  send(message: Message): void {
    this.ensure();
    if (this.#state !== "open" && this.#state !== "opening") return;
    const body = encodeMessage(message);
    const full = this.#queuedBytes + body.length > MAX_QUEUED_BYTES || this.#queue.length >= MAX_QUEUED;
    if (full && this.#queue.length > 0) return;
    this.#queue.push(body);
    this.#queuedBytes += body.length;
    this.#flush();
  }

  /** Opens the stream unless it is open, or was tried just now. */
  ensure(): void {
    const due = this.#state === "idle" || (this.#state === "down" && performance.now() >= this.#retryAt);
    if (due) void this.#run();
  }

  close(): void {
    this.#state = "closed";
    this.#forget();
    this.#abort.abort();
    this.#stream?.destroy();
    this.#stream = undefined;
  }

  /** One life of the stream. */
  async #run(): Promise<void> {
    const { network, log, deadline } = this.parts;
    this.#state = "opening";
    try {
      const stream = await network.stream(
        this.address,
        MESSAGES_METHOD,
        encodeHello(this.parts.greet(this.id)),
        { deadline, signal: this.#abort.signal },
      );
      // The reason of a break comes with the end of the frames; without a listener it would end the process.
      stream.on("error", () => undefined);
      if (this.#isClosed()) {
        stream.destroy();
        return;
      }
      this.#stream = stream;
      stream.on("drain", () => {
        this.#blocked = false;
        this.#flush();
      });
      const answers = readFrames(stream, MAX_GREETING);
      const answer = await answers.next();
      if (answer.done === true) throw new Error(`${this.address} closed the stream without an answer`);
      const { id } = decodeHello(answer.value);
      if (id !== this.id) throw refusal(`server ${id} answers at ${this.address}, and not ${this.id}`);
      log.debug({ peer: this.id, address: this.address }, "raft messages flow to the server");
      this.#state = "open";
      this.#failures = 0;
      this.#complaints.clear(this.id);
      this.#flush();
      // Nothing more is said on this side: it ends with the stream.
      await answers.next();
      throw new Error("it closed the stream");
    } catch (error) {
      if (!this.#isClosed()) this.#down(error as Error);
    }
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #down(error: Error): void {
    this.#stream?.destroy();
    this.#stream = undefined;
    this.#state = "down";
    this.#forget();
    this.#retryAt = performance.now() + Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 10);
    this.#complain(error);
  }

  #forget(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#blocked = false;
  }

  #complain(error: Error): void {
    if (!this.#complaints.due(this.id, error.message)) return;
    const fields = { peer: this.id, address: this.address, error: error.message };
    if (error instanceof RpcError && error.code === "ERR_RPC_REFUSED") {
      this.parts.log.error(fields, "the server refuses this one's raft messages");
    } else {
      this.parts.log.warn(fields, "raft messages do not reach the server; trying again");
    }
  }

  #flush(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#state !== "open" || this.#blocked || this.#queue.length === 0) return;
    // What one turn of the event loop sends goes out together.
    if (stream.writableCorked === 0) {
      stream.cork();
      setImmediate(() => stream.uncork());
    }
    let sent = 0;
    while (sent < this.#queue.length && !this.#blocked) {
      const body = this.#queue[sent++]!;
      this.#queuedBytes -= body.length;
      this.#blocked = !writeFrame(stream, body);
    }
    this.#queue.splice(0, sent);
  }
}
