/**
 * The `_core` scheduler: garbage collection. It reads a snapshot in a thread of the pool, where a scan holds nobody up, and
 * has the main thread delete in bounded batches.
 */
import { setImmediate as turn } from "node:timers/promises";
import {
  type Allocation,
  CoreJob,
  type Evaluation,
  type GarbageBatch,
  type GarbageCutoffs,
} from "@drover/plugin-sdk";
import type { LmdbSnapshot } from "../../core/state/read/index.js";
import {
  allocationIsGarbage,
  deploymentIsGarbage,
  endedIsRecord,
  evaluationIsOld,
  factsOf,
  isOutdated,
  type JobFacts,
  jobIsOld,
  nodeIsGarbage,
} from "./rules.js";

/** Rows of one batch: applying its log entry takes a few milliseconds. */
const BATCH = 150;
/** Jobs of one batch; each has versions and a summary. */
const JOBS = 50;
/** Rows looked at between two turns of the thread's event loop, so that its other evaluations go on. */
const ROWS_A_TURN = 500;

export interface Collection {
  readonly evaluation: Evaluation;
  readonly cutoffs: GarbageCutoffs;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
  /** The newest state. */
  snapshot(): LmdbSnapshot;
  /** Resolves once the rows are deleted. */
  send(batch: GarbageBatch): Promise<void>;
}

/** Does what the evaluation's JobID says (`eval-gc:120`). */
export async function collectGarbage(collection: Collection): Promise<void> {
  const [kind = ""] = collection.evaluation.JobID.split(":");
  switch (kind) {
    case CoreJob.EvalGC:
      return inSnapshot(collection, collectEvaluations);
    case CoreJob.JobGC:
      return inSnapshot(collection, collectJobs);
    case CoreJob.DeploymentGC:
      return inSnapshot(collection, collectDeployments);
    case CoreJob.NodeGC:
      await inSnapshot(collection, collectNodes);
      return inSnapshot(collection, collectJoinTokens);
    case CoreJob.ForceGC:
      // Each step sees what the one before deleted.
      for (const step of [
        collectJobs,
        collectEvaluations,
        collectDeployments,
        collectNodes,
        collectJoinTokens,
      ])
        await inSnapshot(collection, step);
      return;
    default:
      throw new Error(`the _core scheduler knows no job "${collection.evaluation.JobID}"`);
  }
}

type Step = (collection: Collection, state: LmdbSnapshot) => Promise<void>;

async function inSnapshot(collection: Collection, step: Step): Promise<void> {
  using state = collection.snapshot();
  await step(collection, state);
}

/** Evaluations and allocations on their way out. */
class EndedRows {
  readonly #send: Collection["send"];
  #evaluations: string[] = [];
  #allocations: Allocation[] = [];

  constructor(send: Collection["send"]) {
    this.#send = send;
  }

  async evaluation(id: string): Promise<void> {
    this.#evaluations.push(id);
    await this.#sendFull();
  }

  async allocation(allocation: Allocation): Promise<void> {
    this.#allocations.push(allocation);
    await this.#sendFull();
  }

  async flush(): Promise<void> {
    const [evaluations, allocations] = [this.#evaluations, this.#allocations];
    if (evaluations.length + allocations.length === 0) return;
    this.#evaluations = [];
    this.#allocations = [];
    await this.#send({
      table: "evaluations",
      evaluations,
      allocations: allocations.map((allocation) => allocation.ID),
    });
  }

  async #sendFull(): Promise<void> {
    if (this.#evaluations.length + this.#allocations.length >= BATCH) await this.flush();
  }
}

async function collectEvaluations({ cutoffs, now, send }: Collection, state: LmdbSnapshot): Promise<void> {
  const rows = new EndedRows(send);
  const jobs = new Map<string, JobFacts | null>();
  const factsFor = ({ Namespace, JobID }: Evaluation): JobFacts | null => {
    const key = `${Namespace}\0${JobID}`;
    let facts = jobs.get(key);
    if (facts === undefined) {
      const job = state.job(Namespace, JobID);
      facts = job === null ? null : factsOf(job);
      jobs.set(key, facts);
    }
    return facts;
  };
  for await (const evaluation of unhurried(state.evaluations())) {
    if (!evaluationIsOld(evaluation, cutoffs.evaluations)) continue;
    const job = factsFor(evaluation);
    let left = 0;
    for (const allocation of state.allocationsByEvaluation(evaluation.ID)) {
      // The record of what a batch job did goes with the job, and not before.
      const kept = job !== null && endedIsRecord(evaluation.Type) && !isOutdated(allocation, job);
      if (kept || !allocationIsGarbage(allocation, job, cutoffs.evaluations, now * 1e6)) left++;
      else await rows.allocation(allocation);
    }
    if (left === 0) await rows.evaluation(evaluation.ID);
  }
  await rows.flush();
}

async function collectJobs({ cutoffs, now, send }: Collection, state: LmdbSnapshot): Promise<void> {
  const rows = new EndedRows(send);
  let jobs: { Namespace: string; ID: string; ModifyIndex: number }[] = [];
  // What a job left goes before the job does, so that one that can't be found any more has nothing left either.
  const flush = async (): Promise<void> => {
    await rows.flush();
    if (jobs.length === 0) return;
    await send({ table: "jobs", jobs });
    jobs = [];
  };
  for await (const job of unhurried(state.jobs())) {
    if (!jobIsOld(job, cutoffs.jobs)) continue;
    const { Namespace, ID, ModifyIndex } = job;
    const evaluations = state.evaluationsByJob(Namespace, ID);
    if (!evaluations.every((evaluation) => evaluationIsOld(evaluation, cutoffs.jobs))) continue;
    const facts = factsOf(job);
    const allocations = state.allocationsByJob(Namespace, ID);
    if (!allocations.every((one) => allocationIsGarbage(one, facts, cutoffs.jobs, now * 1e6))) continue;
    for (const evaluation of evaluations) await rows.evaluation(evaluation.ID);
    for (const allocation of allocations) await rows.allocation(allocation);
    jobs.push({ Namespace, ID, ModifyIndex });
    if (jobs.length >= JOBS) await flush();
  }
  await flush();
}

async function collectDeployments({ cutoffs, send }: Collection, state: LmdbSnapshot): Promise<void> {
  const ids: string[] = [];
  for await (const deployment of unhurried(state.deployments())) {
    const allocations = () => state.allocationsByDeployment(deployment.ID);
    if (deploymentIsGarbage(deployment, allocations, cutoffs.deployments)) ids.push(deployment.ID);
  }
  for (const deployments of batches(ids)) await send({ table: "deployments", deployments });
}

async function collectNodes({ cutoffs, send }: Collection, state: LmdbSnapshot): Promise<void> {
  const down: { ID: string; ModifyIndex: number }[] = [];
  for await (const node of unhurried(state.nodes())) {
    const { ID, ModifyIndex } = node;
    if (nodeIsGarbage(node, () => state.allocationsByNode(ID), cutoffs.nodes)) down.push({ ID, ModifyIndex });
  }
  for (const nodes of batches(down)) await send({ table: "nodes", nodes });
}

/**
 * Tokens that expired, and used ones after a while: an agent that lost the answer to its enrolment tries again with the same
 * token soon.
 */
async function collectJoinTokens({ cutoffs, now, send }: Collection, state: LmdbSnapshot): Promise<void> {
  const over: string[] = [];
  for await (const { key, value } of unhurried(state.joinTokens())) {
    const isUsed = value.UsedBy !== null && value.CreateIndex <= cutoffs.nodes;
    if (isUsed || value.Expires <= now * 1e6) over.push(key);
  }
  for (const hashes of batches(over)) await send({ table: "join-tokens", hashes });
}

/** The rows, with a turn of the event loop now and then. */
async function* unhurried<T>(rows: Iterable<T>): AsyncGenerator<T> {
  let left = ROWS_A_TURN;
  for (const row of rows) {
    yield row;
    if (--left > 0) continue;
    left = ROWS_A_TURN;
    await turn();
  }
}

function* batches<T>(rows: readonly T[]): Generator<T[]> {
  for (let at = 0; at < rows.length; at += BATCH) yield rows.slice(at, at + BATCH);
}
