/** Requests of one task to the main thread; answers are matched by id, so several may be under way. */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { PackedPlanResult, SchedulingAnswer, SchedulingRequest } from "@drover/plugin-sdk";

/** What the main thread answered in place of a result; not the doing of the plugin that asked. */
export class MainThreadError extends Error {
  override readonly name = "MainThreadError";
}

interface Waiting {
  readonly settled: (() => void) | undefined;
  resolve(result: PackedPlanResult | null): void;
  reject(error: Error): void;
}

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

export class MainPort {
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #closed = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on("message", (answer: SchedulingAnswer) => this.#answered(answer));
    port.on("close", () => {
      this.#closed = true;
      for (const { settled, reject } of this.#waiting.values()) {
        settled?.();
        reject(goneError());
      }
      this.#waiting.clear();
    });
  }

  /**
   * Resolves with the result of a plan, null for the other kinds. Rejects with the main thread's error, or when it left.
   * `settled` is called in either case as soon as the answer is taken in, before who awaits the promise has a turn.
   */
  request(
    request: WithoutId<SchedulingRequest>,
    transfer: readonly ArrayBufferLike[] = [],
    settled?: () => void,
  ): Promise<PackedPlanResult | null> {
    if (this.#closed) {
      settled?.();
      return Promise.reject(goneError());
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // Throws, and so rejects, where the request holds what can't cross.
      this.#port.postMessage({ id, ...request } satisfies SchedulingRequest, transfer as ArrayBuffer[]);
      this.#waiting.set(id, { settled, resolve, reject });
    });
  }

  /** Says that the scheduler begins with the evaluation now. */
  started(): void {
    this.#port.postMessage({ id: 0, kind: "started" } satisfies SchedulingRequest);
  }

  /** Says that the scheduler has decided what others may be decided without: the thread can begin with another evaluation. */
  decided(): void {
    this.#port.postMessage({ id: 0, kind: "decided" } satisfies SchedulingRequest);
  }

  /** Takes in the answers that have come and that the event loop had no turn for. */
  poll(): void {
    for (let next = receiveMessageOnPort(this.#port); next; next = receiveMessageOnPort(this.#port))
      this.#answered(next.message as SchedulingAnswer);
  }

  #answered(answer: SchedulingAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    waiting.settled?.();
    if ("error" in answer) waiting.reject(new MainThreadError(answer.error));
    else waiting.resolve(answer.result);
  }

  close(): void {
    this.#port.close();
  }
}

function goneError(): Error {
  return new MainThreadError(
    "the server closed the evaluation's port: it stopped, or gave the evaluation to another scheduler",
  );
}
