import type { Logger, StateReader } from "@drover/plugin-sdk";
import { allocIsTerminal, clientTerminal, evalTerminal } from "@drover/plugin-sdk";
import { CommandType } from "../state/index.js";
import { type CommandLog, unixNanos } from "./command-log.js";

/** Rows of one log entry. */
const BATCH = 1_000;

/**
 * Collects what `PUT /v1/system/gc` may: evaluations that ended with all their allocations ended, jobs that are dead, and
 * nodes that are down and hold nothing.
 */
export async function collectGarbage(state: StateReader, commands: CommandLog, log: Logger): Promise<void> {
  const evaluations: string[] = [];
  const allocations: string[] = [];
  const jobs: { namespace: string; id: string }[] = [];
  const nodes: string[] = [];
  {
    using snapshot = state.snapshot();
    for (const job of snapshot.jobs()) {
      if (job.Status !== "dead") continue;
      const open =
        snapshot.allocationsByJob(job.Namespace, job.ID).some((allocation) => !allocIsTerminal(allocation)) ||
        snapshot.evaluationsByJob(job.Namespace, job.ID).some((evaluation) => !evalTerminal(evaluation));
      if (!open) jobs.push({ namespace: job.Namespace, id: job.ID });
    }
    const dead = new Set(jobs.map((job) => `${job.namespace}\0${job.id}`));
    for (const evaluation of snapshot.evaluations()) {
      if (!evalTerminal(evaluation)) continue;
      const own = snapshot.allocationsByEvaluation(evaluation.ID);
      const job = snapshot.job(evaluation.Namespace, evaluation.JobID);
      const jobGone = job === null || dead.has(`${evaluation.Namespace}\0${evaluation.JobID}`);
      // A batch job's finished allocations are the record that its work is done: kept while the job is.
      if (!jobGone && evaluation.Type === "batch") continue;
      if (own.some((allocation) => !(allocIsTerminal(allocation) && clientTerminal(allocation)))) continue;
      evaluations.push(evaluation.ID);
      allocations.push(...own.map((allocation) => allocation.ID));
    }
    const going = new Set(allocations);
    for (const node of snapshot.nodes()) {
      if (node.Status !== "down") continue;
      if (snapshot.allocationsByNode(node.ID).every((allocation) => going.has(allocation.ID)))
        nodes.push(node.ID);
    }
  }
  for (let at = 0; at < Math.max(evaluations.length, allocations.length); at += BATCH) {
    await commands.propose(CommandType.EvaluationDelete, {
      EvalIDs: evaluations.slice(at, at + BATCH),
      AllocIDs: allocations.slice(at, at + BATCH),
    });
  }
  for (const job of jobs) {
    await commands.propose(CommandType.JobDeregister, {
      Namespace: job.namespace,
      JobID: job.id,
      Purge: true,
      Evaluation: null,
      Time: unixNanos(),
    });
  }
  if (nodes.length > 0) {
    await commands.propose(CommandType.NodeDeregister, {
      NodeIDs: nodes,
      Evaluations: [],
      Time: unixNanos(),
    });
  }
  log.info(
    {
      evaluations: evaluations.length,
      allocations: allocations.length,
      jobs: jobs.length,
      nodes: nodes.length,
    },
    "garbage collected",
  );
}
