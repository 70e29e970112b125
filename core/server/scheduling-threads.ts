/** A Piscina pool of scheduling threads, with a deadline for each evaluation in them. */
import { setFlagsFromString } from "node:v8";
import { MessageChannel } from "node:worker_threads";
import type {
  DryRunOutcome,
  DryRunTask,
  Logger,
  SchedulingAnswer,
  SchedulingOutcome,
  SchedulingRequest,
  SchedulingTask,
  SchedulingWorkerData,
  ThreadNews,
} from "@drover/plugin-sdk";
import { Piscina } from "piscina";
import { ThreadFence } from "../state/read/index.js";
import { WorkClock } from "./work-clock.js";

/** Failures of threads in a row, none of which got as far as being loaded. */
const FAILURES_IN_A_ROW = 2;
/** Milliseconds from handing an evaluation to a thread until its scheduler begins: the thread may have to load first. */
const START_DEADLINE = 30_000;
/** Milliseconds that evaluations have to end by themselves when the server stops. */
const STOP_GRACE = 2_000;
/** Milliseconds in which a thread that is to be ended comes out of LMDB: what it does there reads some pages at most. */
const FENCE_GRACE = 10_000;
/** MiB of a thread's heap where an evaluation's allocations fit: most of them live no longer than it. */
const YOUNG_GENERATION = 96;
/** Evaluations that a thread holds where they overlap: one that it decides, and others whose plans are committed. */
const HELD = 4;

export interface SchedulingThreadsOptions {
  readonly threads: number;
  /** Threads that are kept; others start when there is work for them and end when there was none for a minute. */
  readonly kept: 0 | 1;
  /** Whether a thread takes its next evaluation while what it decided on one is committed, or only when it is. */
  readonly overlap: boolean;
  /** MiB of heap a thread. */
  readonly memory: number;
  readonly workerData: SchedulingWorkerData;
}

/** An evaluation's thread ended under it; `message` says why, for people. */
export class ThreadEnded extends Error {
  override readonly name = "ThreadEnded";
}

type PiscinaWorker = Parameters<
  NonNullable<NonNullable<ConstructorParameters<typeof Piscina>[0]>["loadBalancer"]>
>[1][number];

/** Null when every thread has its fill. */
function leastBusy(threads: readonly PiscinaWorker[], held: number): PiscinaWorker | null {
  let best: PiscinaWorker | null = null;
  let least = held;
  for (const thread of threads) {
    // The usage of a thread with one task that can be aborted reads as infinite.
    const tasks = thread.isRunningAbortableTask ? 1 : thread.currentUsage;
    if (tasks < least) {
      best = thread;
      least = tasks;
    }
  }
  return best;
}

export class SchedulingThreads {
  readonly #pool: Piscina;
  /** Evaluations that are being decided. */
  #running = 0;
  /** Threads that failed since one was loaded. */
  #failures = 0;
  #stopped = false;
  /** What threads work on. */
  readonly #inThreads = new Set<Promise<unknown>>();
  /** Of the threads that have opened the state, by their number. */
  readonly #fences = new Map<number, ThreadFence>();
  /** Numbers of threads that can take work. */
  readonly #loaded = new Set<number>();
  /** Told when a thread has come further. */
  #progress: (() => void) | undefined;

  constructor(
    private readonly options: SchedulingThreadsOptions,
    private readonly log: Logger,
    /** Told when threads end again and again before they can do anything. */
    private readonly onFatal: (error: Error) => void,
    /** Told when another evaluation can be taken before one is done. */
    private readonly onFree: () => void,
  ) {
    const held = options.overlap ? HELD : 1;
    // The small young generation that the main thread was started with would count for these threads too.
    setFlagsFromString("--max-semi-space-size=0");
    this.#pool = new Piscina({
      filename: new URL("../../workers/scheduling.js", import.meta.url).href,
      workerData: options.workerData,
      minThreads: options.kept,
      maxThreads: options.threads,
      idleTimeout: 60_000,
      concurrentTasksPerWorker: held,
      resourceLimits: { maxOldGenerationSizeMb: options.memory, maxYoungGenerationSizeMb: YOUNG_GENERATION },
      // Piscina's own gives tasks that can be aborted a thread each.
      loadBalancer: (_task, threads) => leastBusy(threads, held),
    });
    this.#pool.on("message", (news: ThreadNews) => {
      if (news.kind === "opened") this.#fence(news.thread, new ThreadFence(news.fence));
      else {
        this.#failures = 0;
        this.#loaded.add(news.thread);
        this.#progress?.();
      }
    });
    this.#pool.on("error", (error: Error) => this.#threadFailed(error));
  }

  /** Evaluations that can be taken now. */
  get free(): number {
    return this.options.threads - this.#running;
  }

  /**
   * Lets a thread work on an evaluation; `deadline` is in milliseconds, without the time that requests take to be answered.
   * Rejects with `ThreadEnded` when the thread did: by its own doing, by another evaluation's, or for the deadline.
   */
  async run(
    task: Omit<SchedulingTask, "port">,
    deadline: number,
    answer: (
      request: Exclude<SchedulingRequest, { kind: "started" | "decided" }>,
    ) => Promise<SchedulingAnswer>,
  ): Promise<SchedulingOutcome> {
    const channel = new MessageChannel();
    const { abort, clock, takenBy } = this.#limited();
    const answers = new Set<Promise<void>>();
    let started = false;
    let deciding = true;
    const decided = (): void => {
      if (deciding) this.#running--;
      deciding = false;
    };
    channel.port1.on("message", (request: SchedulingRequest) => {
      if (request.kind === "started") {
        started = true;
        clock.start(deadline);
        return;
      }
      const isDecided = request.kind === "decided" || request.kind === "evaluation.update";
      if (isDecided && this.options.overlap && deciding) {
        decided();
        this.onFree();
      }
      if (request.kind === "decided") return;
      clock.pause();
      const answered = answer(request).then((reply) => {
        answers.delete(answered);
        clock.resume();
        channel.port1.postMessage(reply);
      });
      answers.add(answered);
    });
    this.#running++;
    clock.start(START_DEADLINE);
    try {
      return (await this.#inThread(
        this.#pool.run(
          { ...task, takenBy, port: channel.port2 },
          { transferList: [channel.port2], signal: abort.signal },
        ),
      )) as SchedulingOutcome;
    } catch (error) {
      if (!abort.signal.aborted) throw new ThreadEnded(this.#reason(error as Error), { cause: error });
      throw new ThreadEnded(
        started
          ? `not done within its deadline of ${deadline / 1000} s`
          : `not begun within ${START_DEADLINE / 1000} s: its thread is stuck, in loading or in another evaluation`,
      );
    } finally {
      clock.stop();
      // A plan under way is still applied: who gets the evaluation next must see it.
      await Promise.all(answers);
      decided();
      channel.port1.close();
    }
  }

  /** A job that is not registered. Rejects with what its scheduler threw, or with `ThreadEnded`. */
  async dryRun(task: DryRunTask): Promise<DryRunOutcome> {
    const limit = START_DEADLINE + task.budget;
    const { abort, clock, takenBy } = this.#limited();
    this.#running++;
    clock.start(limit);
    try {
      return (await this.#inThread(
        this.#pool.run({ ...task, takenBy }, { name: "dryRun", signal: abort.signal }),
      )) as DryRunOutcome;
    } catch (error) {
      if (abort.signal.aborted) throw new ThreadEnded(`not done within ${limit / 1000} s`, { cause: error });
      throw error;
    } finally {
      clock.stop();
      this.#running--;
    }
  }

  /** Lets evaluations end first, for a while. */
  async stop(): Promise<void> {
    this.#stopped = true;
    let timer: NodeJS.Timeout | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STOP_GRACE);
    });
    await Promise.race([Promise.allSettled(this.#inThreads), passed]);
    clearTimeout(timer);
    await this.#closeAll();
    await this.#pool.destroy();
  }

  /** A deadline for a task: when it has passed, the thread that took the task is ended. */
  #limited(): {
    readonly abort: AbortController;
    readonly clock: WorkClock;
    readonly takenBy: SharedArrayBuffer;
  } {
    const abort = new AbortController();
    const takenBy = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    const clock = new WorkClock(() => void this.#end(takenBy, clock, abort));
    return { abort, clock, takenBy };
  }

  /** Ends a task's thread, which must not be inside of LMDB then. */
  async #end(takenBy: SharedArrayBuffer, clock: WorkClock, abort: AbortController): Promise<void> {
    const thread = Atomics.load(new Int32Array(takenBy), 0);
    const fence = this.#fences.get(thread);
    if (fence !== undefined) await this.#close(thread, fence);
    // It was done in the meantime, and its thread may have gone on with something else.
    if (clock.stopped) fence?.open();
    else abort.abort();
  }

  async #close(thread: number, fence: ThreadFence): Promise<void> {
    if (await fence.close(FENCE_GRACE)) return;
    const text = `scheduling thread was ${FENCE_GRACE / 1000} s in one call of LMDB, and is ended there: the process may not survive`;
    this.log.error({ thread }, text);
  }

  /**
   * Before all threads are ended. One that is only just opening the state has no fence yet; one that loads modules is let come to
   * the end of it, because Node does not always survive the end of a thread in the middle of that.
   */
  async #closeAll(): Promise<void> {
    await this.#threadsAre((thread) => this.#fences.has(thread), FENCE_GRACE);
    await this.#threadsAre((thread) => this.#loaded.has(thread), STOP_GRACE);
    await Promise.all(
      this.#pool.threads.map(async ({ threadId }) => {
        const fence = this.#fences.get(threadId);
        if (fence !== undefined) await this.#close(threadId, fence);
      }),
    );
  }

  /** Waits until all threads are so far, for so many milliseconds at most. */
  async #threadsAre(soFar: (thread: number) => boolean, limit: number): Promise<void> {
    const until = performance.now() + limit;
    const isMissing = (): boolean => this.#pool.threads.some(({ threadId }) => !soFar(threadId));
    while (isMissing() && performance.now() < until) {
      await new Promise<void>((resolve) => {
        this.#progress = resolve;
        setTimeout(resolve, 10);
      });
    }
  }

  #fence(thread: number, fence: ThreadFence): void {
    const live = new Set(this.#pool.threads.map(({ threadId }) => threadId));
    for (const known of this.#fences.keys()) if (!live.has(known)) this.#fences.delete(known);
    for (const known of this.#loaded) if (!live.has(known)) this.#loaded.delete(known);
    this.#fences.set(thread, fence);
    this.#progress?.();
  }

  async #inThread(work: Promise<unknown>): Promise<unknown> {
    this.#inThreads.add(work);
    try {
      return await work;
    } finally {
      this.#inThreads.delete(work);
    }
  }

  #reason(error: Error): string {
    if ((error as NodeJS.ErrnoException).code === "ERR_WORKER_OUT_OF_MEMORY")
      return `its thread ran out of memory (${this.options.memory} MiB)`;
    const exit = /^worker exited with code: (\d+)$/.exec(error.message);
    if (exit !== null) return `it ended its thread (process.exit, code ${exit[1]})`;
    return `its thread ended with an exception that nobody caught: ${error instanceof Error ? error.message : String(error)}`;
  }

  /** One thread is replaced; when each new one fails too (a plugin that can't load there), nothing would ever be placed. */
  #threadFailed(error: Error): void {
    if (this.#stopped) return;
    this.#failures++;
    this.log.error({ error: error.message, failures: this.#failures }, "scheduling thread failed");
    if (this.#failures === FAILURES_IN_A_ROW) {
      this.onFatal(new Error(`scheduling threads can't run: ${error.message}`, { cause: error }));
    }
  }
}
