/** Requests of one task to the main thread; answers are matched by id, so several may be under way. */
import type { MessagePort } from "node:worker_threads";
import type { PackedPlanResult, SchedulingAnswer, SchedulingRequest } from "@drover/plugin-sdk";

/** What the main thread answered in place of a result; not the doing of the plugin that asked. */
export class MainThreadError extends Error {
  override readonly name = "MainThreadError";
}

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

export class MainPort {
  readonly #port: MessagePort;
  readonly #waiting = new Map<
    number,
    { resolve(result: PackedPlanResult | null): void; reject(error: Error): void }
  >();
  #nextId = 1;
  #closed = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on("message", (answer: SchedulingAnswer) => {
      const waiting = this.#waiting.get(answer.id);
      if (waiting === undefined) return;
      this.#waiting.delete(answer.id);
      if ("error" in answer) waiting.reject(new MainThreadError(answer.error));
      else waiting.resolve(answer.result);
    });
    port.on("close", () => {
      this.#closed = true;
      for (const { reject } of this.#waiting.values()) reject(goneError());
      this.#waiting.clear();
    });
  }

  /** Resolves with the result of a plan, null for the other kinds. Rejects with the main thread's error, or when it left. */
  request(
    request: WithoutId<SchedulingRequest>,
    transfer: readonly ArrayBufferLike[] = [],
  ): Promise<PackedPlanResult | null> {
    if (this.#closed) return Promise.reject(goneError());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // Throws, and so rejects, where the request holds what can't cross.
      this.#port.postMessage({ id, ...request } satisfies SchedulingRequest, transfer as ArrayBuffer[]);
      this.#waiting.set(id, { resolve, reject });
    });
  }

  /** Says that the scheduler begins with the evaluation now. */
  started(): void {
    this.#port.postMessage({ id: 0, kind: "started" } satisfies SchedulingRequest);
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
