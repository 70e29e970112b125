import type { AllocEndpoint, StateReader } from "@drover/plugin-sdk";
import { EndpointError } from "@drover/plugin-sdk";
import { type CommandLog, unixNanos } from "../../server/command-log.js";
import { newEvaluation } from "../../server/nodes/node-evaluations.js";
import { CommandType } from "../../state/index.js";

/** `Alloc.*`. */
export class Allocations implements AllocEndpoint {
  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
  ) {}

  async stop(allocId: string): Promise<{ readonly EvalID: string; readonly Index: number }> {
    using snapshot = this.state.snapshot();
    const allocation = snapshot.allocation(allocId);
    if (allocation === null) throw new EndpointError(404, "alloc not found");
    const job = snapshot.job(allocation.Namespace, allocation.JobID) ?? snapshot.allocationJob(allocation);
    if (job === null) throw new EndpointError(404, "job not found");
    const evaluation = newEvaluation(job, "alloc-stop");
    const { index } = await this.commands.propose(CommandType.AllocationDesiredTransition, {
      Transitions: { [allocId]: { Migrate: true, ForceReschedule: null, Reschedule: null } },
      Evaluations: [evaluation],
      Time: unixNanos(),
    });
    return { EvalID: evaluation.ID, Index: index };
  }
}
