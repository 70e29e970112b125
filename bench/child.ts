/** Processes of a benchmark: forked with options, asked over the process channel, ended with it. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** As `drover` starts itself. */
const NODE_FLAGS = ["--max-semi-space-size=4"];

interface Ask {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}

type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly error: string });

/** What a process answers to, by name: argument in, answer out. */
export type Handlers<Calls> = {
  readonly [Name in keyof Calls]: Calls[Name] extends (argument: infer A) => infer R
    ? (argument: A) => R | Promise<R>
    : never;
};

type ArgumentOf<Call> = Call extends (argument: infer A) => unknown ? A : never;
type AnswerOf<Call> = Call extends (argument: never) => infer R ? R : never;

export class Child<Calls> {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }
  >();
  #serial = 0;

  /** `module`: the compiled file, relative to this one. */
  constructor(
    module: string,
    options: object,
    private readonly what: string,
  ) {
    this.#process = fork(fileURLToPath(new URL(module, import.meta.url)), [JSON.stringify(options)], {
      execArgv: NODE_FLAGS,
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#process.on("message", (message: Answer) => this.#take(message));
    this.#process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${this.what} ended`));
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#process.pid!;
  }

  get alive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Rejects with the other's error, and when the process ends before it has answered. */
  ask<Name extends keyof Calls & string>(
    name: Name,
    argument: ArgumentOf<Calls[Name]>,
  ): Promise<AnswerOf<Calls[Name]>> {
    if (!this.alive) return Promise.reject(new Error(`${this.what} has ended`));
    const id = ++this.#serial;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#process.send({ id, name, argument } satisfies Ask);
    });
  }

  /** Lets the process end by itself, now that nothing is asked of it any more. */
  async end(): Promise<void> {
    if (!this.alive) return;
    const ended = once(this.#process, "exit");
    this.#process.disconnect();
    await ended;
  }

  /** Resolves when the process is gone. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (!this.alive) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    await ended;
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("error" in answer) waiting?.reject(new Error(`${this.what}: ${answer.error}`));
    else waiting?.resolve(answer.value);
  }
}

/** In the process itself: its options. */
export function childOptions<Options>(): Options {
  return JSON.parse(process.argv[2] ?? "{}") as Options;
}

/** In the process itself: answers until the benchmark is gone, and then ends. */
export function serveParent<Calls>(handlers: Handlers<Calls>): void {
  process.on("message", ({ id, name, argument }: Ask) => {
    const handler = handlers[name as keyof Calls] as (argument: unknown) => unknown;
    void (async () => {
      try {
        process.send!({ id, value: await handler(argument) });
      } catch (error) {
        process.send!({ id, error: (error as Error).message });
      }
    })();
  });
  process.on("disconnect", () => process.exit());
}
