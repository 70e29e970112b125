/** The end of a deployment that failed: its wording, and the version that its job goes back to. */
import type { Deployment, Job, StateSnapshot } from "@drover/plugin-sdk";
import {
  DeploymentStatus,
  deploymentNoRollbackDescription,
  deploymentRollbackDescription,
  deploymentRollbackNoopDescription,
  EvalTrigger,
} from "@drover/plugin-sdk";
import { type CommandPayloads, type CommandType, sameSpecification } from "../../state/index.js";
import { unixNanos } from "../command-log.js";
import { newEvaluation } from "../nodes/node-evaluations.js";

type StatusUpdate = CommandPayloads[typeof CommandType.DeploymentStatusUpdate];

export interface DeploymentFailure {
  readonly payload: StatusUpdate;
  /** Version that the job goes back to; null where it stays. */
  readonly revertedVersion: number | null;
}

/** @param revert whether the job is to go back to its last stable version */
export function deploymentFailure(
  snapshot: StateSnapshot,
  deployment: Deployment,
  why: string,
  revert: boolean,
): DeploymentFailure {
  const job = snapshot.job(deployment.Namespace, deployment.JobID);
  const stable =
    revert && job !== null
      ? snapshot.jobVersions(deployment.Namespace, deployment.JobID).find((version) => version.Stable)
      : undefined;
  const target = job !== null && stable !== undefined && !sameSpecification(job, stable) ? stable : null;
  const Time = unixNanos();
  return {
    payload: {
      Update: {
        DeploymentID: deployment.ID,
        Status: DeploymentStatus.Failed,
        StatusDescription: revert ? withTarget(why, stable, target) : why,
      },
      Evaluation:
        job === null
          ? null
          : newEvaluation(target ?? job, EvalTrigger.DeploymentWatcher, { DeploymentID: deployment.ID }),
      Job: target === null ? null : { ...target, SubmitTime: Time },
      Time,
    },
    revertedVersion: target?.Version ?? null,
  };
}

function withTarget(why: string, stable: Job | undefined, target: Job | null): string {
  if (stable === undefined) return deploymentNoRollbackDescription(why);
  // It would fail like this one, and go back to the same again.
  if (target === null) return deploymentRollbackNoopDescription(why, stable.Version);
  return deploymentRollbackDescription(why, stable.Version);
}
