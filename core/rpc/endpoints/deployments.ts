import type {
  Deployment,
  DeploymentEndpoint,
  DeploymentWriteResponse,
  Evaluation,
  StateReader,
  StateSnapshot,
} from "@drover/plugin-sdk";
import {
  DeploymentStatus,
  DeploymentStatusDescription,
  deploymentActive,
  deploymentRunningDescription,
  EndpointError,
  EvalTrigger,
  isUUID,
} from "@drover/plugin-sdk";
import { type CommandLog, unixNanos } from "../../server/command-log.js";
import { deploymentFailure } from "../../server/deployments/failure.js";
import { newEvaluation } from "../../server/nodes/node-evaluations.js";
import { CommandRefused, CommandType } from "../../state/index.js";

/** `Deployment.*`. */
export class Deployments implements DeploymentEndpoint {
  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
  ) {}

  async promote({
    deploymentId,
    all,
    groups,
  }: Parameters<DeploymentEndpoint["promote"]>[0]): Promise<DeploymentWriteResponse> {
    using snapshot = this.state.snapshot();
    const deployment = activeOf(snapshot, deploymentId, "can't promote terminal deployment");
    const evaluation = evaluationOf(snapshot, deployment);
    const index = await this.#propose(CommandType.DeploymentPromote, {
      DeploymentID: deploymentId,
      All: all,
      Groups: [...groups],
      Evaluation: evaluation,
      Time: unixNanos(),
    });
    return answer(index, evaluation);
  }

  async fail(deploymentId: string): Promise<DeploymentWriteResponse> {
    using snapshot = this.state.snapshot();
    const deployment = activeOf(snapshot, deploymentId, "can't fail terminal deployment");
    const { payload, revertedVersion } = deploymentFailure(
      snapshot,
      deployment,
      DeploymentStatusDescription.FailedByUser,
      Object.values(deployment.TaskGroups).some((group) => group.AutoRevert),
    );
    const index = await this.#propose(CommandType.DeploymentStatusUpdate, payload);
    return answer(index, payload.Evaluation, revertedVersion);
  }

  async pause(deploymentId: string, paused: boolean): Promise<DeploymentWriteResponse> {
    using snapshot = this.state.snapshot();
    const refusal = paused ? "can't pause terminal deployment" : "can't resume terminal deployment";
    const deployment = activeOf(snapshot, deploymentId, refusal);
    const evaluation = paused ? null : evaluationOf(snapshot, deployment);
    const index = await this.#propose(CommandType.DeploymentStatusUpdate, {
      Update: {
        DeploymentID: deploymentId,
        Status: paused ? DeploymentStatus.Paused : DeploymentStatus.Running,
        StatusDescription: paused
          ? DeploymentStatusDescription.Paused
          : deploymentRunningDescription(deployment),
      },
      Evaluation: evaluation,
      Job: null,
      Time: unixNanos(),
    });
    return answer(index, evaluation);
  }

  async setHealth({
    deploymentId,
    healthy,
    unhealthy,
  }: Parameters<DeploymentEndpoint["setHealth"]>[0]): Promise<DeploymentWriteResponse> {
    if (healthy.length + unhealthy.length === 0) {
      throw new EndpointError(400, "must specify at least one healthy/unhealthy allocation ID");
    }
    const both = healthy.find((id) => unhealthy.includes(id));
    if (both !== undefined)
      throw new EndpointError(400, `allocation "${both}" can't be healthy and unhealthy at once`);
    using snapshot = this.state.snapshot();
    const deployment = activeOf(
      snapshot,
      deploymentId,
      "can't set health of allocations for a terminal deployment",
    );
    const reverts = unhealthy.some((id) => {
      const group = snapshot.allocation(id)?.TaskGroup;
      return group !== undefined && deployment.TaskGroups[group]?.AutoRevert === true;
    });
    const failure =
      unhealthy.length === 0
        ? undefined
        : deploymentFailure(snapshot, deployment, DeploymentStatusDescription.FailedAllocations, reverts);
    const evaluation = failure?.payload.Evaluation ?? evaluationOf(snapshot, deployment);
    const index = await this.#propose(CommandType.DeploymentAllocHealth, {
      DeploymentID: deploymentId,
      HealthyAllocationIDs: [...healthy],
      UnhealthyAllocationIDs: [...unhealthy],
      Update: failure?.payload.Update ?? null,
      Evaluation: evaluation,
      Job: failure?.payload.Job ?? null,
      Time: unixNanos(),
    });
    return answer(index, evaluation, failure?.revertedVersion ?? null);
  }

  async #propose(...command: Parameters<CommandLog["propose"]>): Promise<number> {
    try {
      return (await this.commands.propose(...command)).index;
    } catch (error) {
      if (error instanceof CommandRefused) throw new EndpointError(500, error.message);
      throw error;
    }
  }
}

function activeOf(snapshot: StateSnapshot, id: string, refusal: string): Deployment {
  if (!isUUID(id))
    throw new EndpointError(500, "deployment lookup failed: index error: UUID must be 36 characters");
  const deployment = snapshot.deployment(id);
  if (deployment === null) throw new EndpointError(404, "deployment not found");
  if (!deploymentActive(deployment)) throw new EndpointError(500, refusal);
  return deployment;
}

function evaluationOf(snapshot: StateSnapshot, deployment: Deployment): Evaluation | null {
  const job = snapshot.job(deployment.Namespace, deployment.JobID);
  return job === null
    ? null
    : newEvaluation(job, EvalTrigger.DeploymentWatcher, { DeploymentID: deployment.ID });
}

function answer(
  index: number,
  evaluation: Evaluation | null,
  RevertedJobVersion: number | null = null,
): DeploymentWriteResponse {
  return {
    DeploymentModifyIndex: index,
    EvalCreateIndex: evaluation === null ? 0 : index,
    EvalID: evaluation?.ID ?? "",
    Index: index,
    RevertedJobVersion,
  };
}
