import { MessageChannel } from "node:worker_threads";
import type {
  ColumnBuffers,
  DryRunOutcome,
  DryRunTask,
  Evaluation,
  GarbageBatch,
  GarbageCutoffs,
  Logger,
  Metrics,
  PackedPlan,
  PackedPlanResult,
  SchedulerModule,
  SchedulingAnswer,
  SchedulingRequest,
  SchedulingTask,
  SchedulingWorkerData,
} from "@drover/plugin-sdk";
import { JobType } from "@drover/plugin-sdk";
import { Piscina } from "piscina";
import type { Delivery, EvalBroker } from "./evaluations/eval-broker.js";

/** Evaluations that one thread has in hand: while a plan of one is applied, it works on the next. */
const TASKS_A_THREAD = 4;
/** Failures of threads that held no evaluation: such a thread failed while it loaded. */
const FAILURES_IN_A_ROW = 2;

/** What a scheduler asks of the leader while it works. */
export interface SchedulerRequests {
  submitPlan(plan: PackedPlan): Promise<PackedPlanResult>;
  updateEvaluation(evaluation: Evaluation, token: string): Promise<void>;
  createEvaluation(evaluation: Evaluation): Promise<void>;
  reblockEvaluation(evaluation: Evaluation, token: string): Promise<void>;
  /** For the holder of a `_core` evaluation. */
  collectGarbage(batch: GarbageBatch, evaluation: Evaluation, token: string): Promise<void>;
}

export interface SchedulerPoolOptions {
  readonly threads: number;
  /** Job types it takes from the broker. */
  readonly types: readonly string[];
  readonly statePath: string;
  readonly columns: ColumnBuffers;
  readonly modules: readonly SchedulerModule[];
  /** Index that the snapshot of a delivery must contain. */
  readonly index: () => number;
  /** What is old for an evaluation of `_core`. */
  readonly cutoffs: (evaluation: Evaluation) => GarbageCutoffs;
}

/** Moves evaluations from the broker into the threads of a Piscina pool and their requests back. */
export class SchedulerPool {
  readonly #pool: Piscina;
  #inFlight = 0;
  /** Threads that failed since an evaluation was last processed. */
  #failures = 0;
  #stopped = false;

  constructor(
    private readonly options: SchedulerPoolOptions,
    private readonly broker: EvalBroker,
    private readonly requests: SchedulerRequests,
    private readonly log: Logger,
    private readonly metrics: Metrics,
    /** Told when threads end again and again before they get anything done. */
    private readonly onFatal: (error: Error) => void,
  ) {
    const workerData: SchedulingWorkerData = {
      statePath: options.statePath,
      columns: options.columns,
      modules: options.modules,
    };
    this.#pool = new Piscina({
      filename: new URL("../../workers/scheduling.js", import.meta.url).href,
      workerData,
      minThreads: 1,
      maxThreads: options.threads,
      idleTimeout: 60_000,
      concurrentTasksPerWorker: TASKS_A_THREAD,
      resourceLimits: { maxOldGenerationSizeMb: 1024 },
    });
    this.#pool.on("error", (error: Error) => this.#threadFailed(error));
  }

  /** Takes what the broker has ready, up to what the threads can hold. */
  pump(): void {
    while (!this.#stopped && this.#inFlight < this.options.threads * TASKS_A_THREAD) {
      const delivery = this.broker.dequeue(this.options.types);
      if (delivery === undefined) return;
      this.#inFlight++;
      this.#run(delivery)
        .catch((error: unknown) =>
          this.log.error(
            { evaluation: delivery.evaluation.ID, error: messageOf(error) },
            "evaluation not settled",
          ),
        )
        .finally(() => {
          this.#inFlight--;
          this.pump();
        });
    }
  }

  /** Lets the scheduler of a job's type work on a job that is not registered, in one of the threads. Nothing is written. */
  dryRun(task: DryRunTask): Promise<DryRunOutcome> {
    return this.#pool.run(task, { name: "dryRun" });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#pool.destroy();
  }

  async #run({ evaluation, token }: Delivery): Promise<void> {
    const begin = performance.now();
    const channel = new MessageChannel();
    channel.port1.on("message", (request: SchedulingRequest) => {
      void this.#answer(request, evaluation, token).then((answer) => channel.port1.postMessage(answer));
    });
    const task: SchedulingTask = {
      evaluation,
      token,
      minIndex: this.options.index(),
      now: Date.now(),
      port: channel.port2,
      ...(evaluation.Type === JobType.Core ? { garbage: this.options.cutoffs(evaluation) } : {}),
    };
    try {
      await this.#pool.run(task, { transferList: [channel.port2] });
    } catch (error) {
      if (this.broker.outstandingToken(evaluation.ID) === token && !this.#stopped) {
        this.broker.nack(evaluation.ID, token, messageOf(error));
      }
      return;
    } finally {
      channel.port1.close();
    }
    this.#failures = 0;
    this.metrics.sample(`nomad.worker.invoke_scheduler.${evaluation.Type}`, performance.now() - begin);
    // Another delivery may have taken over after the nack timeout; that one answers for the evaluation now.
    if (this.broker.outstandingToken(evaluation.ID) === token) this.broker.ack(evaluation.ID, token);
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

  async #answer(
    request: SchedulingRequest,
    evaluation: Evaluation,
    token: string,
  ): Promise<SchedulingAnswer> {
    const { id } = request;
    try {
      switch (request.kind) {
        case "plan":
          return { id, result: await this.requests.submitPlan(request.plan) };
        case "evaluation.update":
          await this.requests.updateEvaluation(request.evaluation, token);
          return { id, result: null };
        case "evaluation.create":
          await this.requests.createEvaluation(request.evaluation);
          return { id, result: null };
        case "evaluation.reblock":
          await this.requests.reblockEvaluation(request.evaluation, token);
          return { id, result: null };
        case "garbage":
          await this.requests.collectGarbage(request.batch, evaluation, token);
          return { id, result: null };
      }
    } catch (error) {
      return { id, error: messageOf(error) };
    }
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
