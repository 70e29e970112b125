import type { Evaluation } from "@drover/plugin-sdk";
import { EvalStatus, EvalTrigger, generateUUID } from "@drover/plugin-sdk";
import { Heap } from "../heap.js";
import { DelayQueue } from "./delay-queue.js";

/** Queue of evaluations that were delivered too often; only the leader's reaper takes from it. */
export const FAILED_QUEUE = "_failed";

export interface EvalBrokerOptions {
  /** Milliseconds a scheduler may hold an evaluation before it is delivered again. */
  readonly nackTimeout: number;
  /** Deliveries before an evaluation goes to the failed queue. */
  readonly deliveryLimit: number;
  /** Milliseconds before the second delivery, and before the third; each one after it waits that much longer. */
  readonly initialNackDelay: number;
  readonly subsequentNackDelay: number;
}

export const DEFAULT_BROKER_OPTIONS: EvalBrokerOptions = {
  nackTimeout: 60_000,
  deliveryLimit: 3,
  initialNackDelay: 1_000,
  subsequentNackDelay: 20_000,
};

export interface Delivery {
  readonly evaluation: Evaluation;
  /** Proof of this delivery; ack, nack and plans carry it. */
  readonly token: string;
}

interface Outstanding {
  readonly evaluation: Evaluation;
  readonly token: string;
  timer: NodeJS.Timeout | undefined;
}

export interface BrokerStats {
  readonly ready: number;
  readonly unacked: number;
  readonly pending: number;
  readonly delayed: number;
  readonly failed: number;
}

const byPriority = (a: Evaluation, b: Evaluation): boolean =>
  a.Priority !== b.Priority
    ? a.Priority > b.Priority
    : a.CreateIndex !== b.CreateIndex
      ? a.CreateIndex < b.CreateIndex
      : a.ID < b.ID;

const jobKey = (evaluation: Evaluation): string => `${evaluation.Namespace}\0${evaluation.JobID}`;

/**
 * The leader's queue of evaluations: highest priority first, at most one evaluation of a job in the hands of a scheduler,
 * delivered at least once (https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling). Everything in it
 * can be rebuilt from the state, so it is flushed when leadership is lost.
 */
export class EvalBroker {
  readonly #ready = new Map<string, Heap<Evaluation>>();
  readonly #outstanding = new Map<string, Outstanding>();
  readonly #deliveries = new Map<string, number>();
  /** Why the last delivery failed, of evaluations that are to be delivered again or were given up. */
  readonly #failures = new Map<string, string>();
  /** Evaluation that is ready or delivered, a job; others of the job wait in `#pending`. */
  readonly #jobHolder = new Map<string, string>();
  readonly #pending = new Map<string, Heap<Evaluation>>();
  readonly #delayed: DelayQueue<Evaluation>;
  /** Evaluations to enqueue once their present delivery is acked (a scheduler wrote them anew while holding them). */
  readonly #requeue = new Map<string, Evaluation>();
  readonly #known = new Set<string>();
  #enabled = false;

  constructor(
    private readonly options: EvalBrokerOptions,
    /** Called whenever something may have become ready. */
    private readonly onReady: () => void,
    private readonly onNack: (evaluation: Evaluation, why: string) => void = () => {},
    /** Told of evaluations that a newer one of their job makes needless; they are forgotten here and to be cancelled. */
    private readonly onSuperseded: (evaluations: readonly Evaluation[]) => void = () => {},
  ) {
    this.#delayed = new DelayQueue((evaluation) => this.#enqueueNow(evaluation));
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Takes work from now on; disabling forgets everything. */
  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    if (!enabled) this.flush();
  }

  /** Adds an evaluation; one that is known already is ignored. */
  enqueue(evaluation: Evaluation): void {
    if (!this.#enabled || this.#known.has(evaluation.ID)) return;
    this.#known.add(evaluation.ID);
    const wait = waitOf(evaluation);
    if (wait > 0) this.#delayed.add(evaluation, wait);
    else this.#enqueueNow(evaluation);
  }

  /**
   * Adds an evaluation that the holder of `token` wrote: when it is the one being held, it is delivered again after the
   * ack, otherwise right away.
   */
  requeue(evaluation: Evaluation, token: string): void {
    const held = this.#outstanding.get(evaluation.ID);
    if (held === undefined) this.enqueue(evaluation);
    else if (held.token === token) this.#requeue.set(evaluation.ID, evaluation);
  }

  /** Next evaluation for one of `schedulers`; undefined when none is ready. */
  dequeue(schedulers: readonly string[]): Delivery | undefined {
    if (!this.#enabled) return undefined;
    let best: Heap<Evaluation> | undefined;
    for (const type of schedulers) {
      const heap = this.#ready.get(type);
      const first = heap?.peek();
      if (first === undefined) continue;
      const present = best?.peek();
      if (present === undefined || byPriority(first, present)) best = heap;
    }
    const evaluation = best?.pop();
    if (evaluation === undefined) return undefined;
    const token = generateUUID();
    const held: Outstanding = { evaluation, token, timer: undefined };
    this.#outstanding.set(evaluation.ID, held);
    this.#deliveries.set(evaluation.ID, (this.#deliveries.get(evaluation.ID) ?? 0) + 1);
    this.#arm(held);
    return { evaluation, token };
  }

  /** Whether an evaluation waits here or is held. */
  has(evaluationId: string): boolean {
    return this.#known.has(evaluationId);
  }

  /** Token under which an evaluation is held now. */
  outstandingToken(evaluationId: string): string | undefined {
    return this.#outstanding.get(evaluationId)?.token;
  }

  /** Stops the nack timer while the plan of the evaluation waits in the plan queue. */
  pauseNackTimeout(evaluationId: string, token: string): void {
    const held = this.#held(evaluationId, token);
    clearTimeout(held.timer);
    held.timer = undefined;
  }

  resumeNackTimeout(evaluationId: string, token: string): void {
    const held = this.#outstanding.get(evaluationId);
    if (held !== undefined && held.token === token) this.#arm(held);
  }

  /** The evaluation is done. Throws when `token` is not its present delivery. */
  ack(evaluationId: string, token: string): void {
    const held = this.#held(evaluationId, token);
    this.#release(held);
    this.#deliveries.delete(evaluationId);
    this.#failures.delete(evaluationId);
    this.#known.delete(evaluationId);
    this.#nextOfJob(held.evaluation);
    const again = this.#requeue.get(evaluationId);
    if (again !== undefined) {
      this.#requeue.delete(evaluationId);
      this.enqueue(again);
    }
  }

  /** The evaluation was not done; it is delivered again after a delay, or given up to the failed queue. */
  nack(evaluationId: string, token: string, why: string): void {
    const held = this.#held(evaluationId, token);
    this.#release(held);
    this.#requeue.delete(evaluationId);
    this.#failures.set(evaluationId, why);
    this.onNack(held.evaluation, why);
    const deliveries = this.#deliveries.get(evaluationId) ?? 1;
    if (deliveries >= this.options.deliveryLimit) {
      this.#push(FAILED_QUEUE, held.evaluation);
      return;
    }
    const { initialNackDelay, subsequentNackDelay } = this.options;
    const delay = deliveries === 1 ? initialNackDelay : (deliveries - 1) * subsequentNackDelay;
    // The job stays held: a later evaluation of it must not overtake.
    this.#delayed.add(held.evaluation, delay);
  }

  /**
   * The delivery failed by no doing of the evaluation: it is delivered again right away, and this delivery does not count.
   * Throws when `token` is not its present delivery.
   */
  giveBack(evaluationId: string, token: string): void {
    const held = this.#held(evaluationId, token);
    this.#release(held);
    this.#requeue.delete(evaluationId);
    this.#deliveries.set(evaluationId, Math.max(0, (this.#deliveries.get(evaluationId) ?? 1) - 1));
    this.#push(held.evaluation.Type, held.evaluation);
  }

  /** Why the last delivery failed of an evaluation that was nacked. */
  lastFailure(evaluationId: string): string | undefined {
    return this.#failures.get(evaluationId);
  }

  stats(): BrokerStats {
    const count = (heaps: Iterable<Heap<Evaluation>>): number => {
      let sum = 0;
      for (const heap of heaps) sum += heap.size;
      return sum;
    };
    const failed = this.#ready.get(FAILED_QUEUE)?.size ?? 0;
    return {
      ready: count(this.#ready.values()) - failed,
      unacked: this.#outstanding.size,
      pending: count(this.#pending.values()),
      delayed: this.#delayed.size,
      failed,
    };
  }

  flush(): void {
    for (const held of this.#outstanding.values()) clearTimeout(held.timer);
    this.#outstanding.clear();
    this.#ready.clear();
    this.#deliveries.clear();
    this.#failures.clear();
    this.#jobHolder.clear();
    this.#pending.clear();
    this.#delayed.clear();
    this.#requeue.clear();
    this.#known.clear();
  }

  #enqueueNow(evaluation: Evaluation): void {
    if (!this.#enabled) return;
    const key = jobKey(evaluation);
    const holder = this.#jobHolder.get(key);
    if (holder !== undefined && holder !== evaluation.ID) {
      let waiting = this.#pending.get(key);
      if (waiting === undefined) {
        waiting = new Heap(byPriority);
        this.#pending.set(key, waiting);
      }
      waiting.push(evaluation);
      return;
    }
    this.#jobHolder.set(key, evaluation.ID);
    this.#push(evaluation.Type, evaluation);
  }

  #push(queue: string, evaluation: Evaluation): void {
    let heap = this.#ready.get(queue);
    if (heap === undefined) {
      heap = new Heap(byPriority);
      this.#ready.set(queue, heap);
    }
    heap.push(evaluation);
    this.onReady();
  }

  #nextOfJob(done: Evaluation): void {
    const key = jobKey(done);
    this.#jobHolder.delete(key);
    const waiting = this.#pending.get(key);
    if (waiting !== undefined && waiting.size > 1) this.#supersede(waiting);
    const next = waiting?.pop();
    if (waiting !== undefined && waiting.size === 0) this.#pending.delete(key);
    if (next !== undefined) this.#enqueueNow(next);
  }

  /**
   * Of the evaluations of a job that wait after changes of nodes the newest sees all that the older ones were made for.
   * Those that people made stay: somebody follows them.
   */
  #supersede(waiting: Heap<Evaluation>): void {
    let newest: Evaluation | undefined;
    for (const evaluation of waiting) {
      if (evaluation.Status !== EvalStatus.Pending) continue;
      if (newest === undefined || evaluation.CreateIndex > newest.CreateIndex) newest = evaluation;
    }
    if (newest === undefined) return;
    const { CreateIndex, Type } = newest;
    const needless = waiting.remove(
      (evaluation) =>
        evaluation.TriggeredBy === EvalTrigger.NodeUpdate &&
        evaluation.Status === EvalStatus.Pending &&
        evaluation.Type === Type &&
        evaluation.CreateIndex < CreateIndex,
    );
    if (needless.length === 0) return;
    for (const { ID } of needless) {
      this.#known.delete(ID);
      this.#deliveries.delete(ID);
    }
    this.onSuperseded(needless);
  }

  #held(evaluationId: string, token: string): Outstanding {
    const held = this.#outstanding.get(evaluationId);
    if (held === undefined) throw new Error(`evaluation ${evaluationId} is not outstanding`);
    if (held.token !== token)
      throw new Error(`evaluation ${evaluationId} was delivered again: token does not match`);
    return held;
  }

  #release(held: Outstanding): void {
    clearTimeout(held.timer);
    this.#outstanding.delete(held.evaluation.ID);
  }

  #arm(held: Outstanding): void {
    clearTimeout(held.timer);
    held.timer = setTimeout(() => {
      const { evaluation, token } = held;
      if (this.#outstanding.get(evaluation.ID) === held) {
        this.nack(evaluation.ID, token, `no answer within ${this.options.nackTimeout} ms`);
      }
    }, this.options.nackTimeout);
    held.timer.unref();
  }
}

/** Milliseconds to hold an evaluation back, by its `Wait` (from now on) or `WaitUntil`. */
function waitOf(evaluation: Evaluation): number {
  if (evaluation.WaitUntil !== undefined && evaluation.WaitUntil !== "") {
    return Math.max(0, Date.parse(evaluation.WaitUntil) - Date.now());
  }
  return (evaluation.Wait ?? 0) / 1e6;
}
