import type { EventSink, Logger, StateEvent, StateSnapshot } from "@drover/plugin-sdk";
import type { Command, StateStore } from "../state/index.js";
import { CommandType } from "../state/index.js";

/**
 * Tells the event sinks what every applied command changed, in log order, on every server
 * (https://developer.hashicorp.com/nomad/api-docs/events). Rows are read after the commit, so an event carries the object
 * as the state has it.
 */
export class EventPublisher {
  constructor(
    private readonly state: StateStore,
    private readonly sinks: readonly EventSink[],
    private readonly log: Logger,
  ) {}

  applied(index: number, command: Command): void {
    if (this.sinks.length === 0) return;
    using snapshot = this.state.snapshot();
    const events = eventsOf(snapshot, command, index);
    if (events.length === 0) return;
    for (const sink of this.sinks) {
      try {
        sink.publish(index, events);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.log.error(
          { sink: sink.name, index, error: message },
          "event sink failed; its events of this index are lost",
        );
      }
    }
  }
}

interface Identified {
  readonly ID: string;
  readonly Namespace?: string;
}

function eventsOf(state: StateSnapshot, command: Command, index: number): StateEvent[] {
  const make = (
    Topic: StateEvent["Topic"],
    Type: string,
    object: Identified,
    FilterKeys: readonly string[] = [],
  ): StateEvent => ({
    Topic,
    Type,
    Key: object.ID,
    Namespace: object.Namespace ?? "",
    FilterKeys,
    Index: index,
    Payload: { [Topic]: object },
  });
  const evaluations = (ids: readonly { readonly ID: string }[], type: string): StateEvent[] =>
    ids.flatMap(({ ID }) => {
      const evaluation = state.evaluation(ID);
      if (evaluation === null) return [];
      return [make("Evaluation", type, evaluation, [evaluation.JobID, evaluation.DeploymentID ?? ""])];
    });
  const allocations = (ids: readonly string[], type: string): StateEvent[] =>
    ids.flatMap((id) => {
      const allocation = state.allocation(id);
      if (allocation === null) return [];
      return [make("Allocation", type, allocation, [allocation.JobID, allocation.DeploymentID])];
    });
  const node = (id: string, type: string): StateEvent[] => {
    const found = state.node(id);
    if (found === null) return [];
    const shown = { ...found, SecretID: "" };
    return [make("Node", type, shown)];
  };
  const job = (namespace: string, id: string, type: string): StateEvent[] => {
    const found = state.job(namespace, id);
    return found === null ? [] : [make("Job", type, found)];
  };

  const deployment = (id: string, type: string): StateEvent[] => {
    const found = state.deployment(id);
    return found === null ? [] : [make("Deployment", type, found, [found.JobID])];
  };

  switch (command.type) {
    case CommandType.NodeRegister:
      return [
        ...node(command.payload.Node.ID, "NodeRegistration"),
        ...evaluations(command.payload.Evaluations, "NodeRegistration"),
      ];
    case CommandType.NodeDeregister:
      return [
        ...command.payload.NodeIDs.map((ID) => make("Node", "NodeDeregistration", { ID })),
        ...evaluations(command.payload.Evaluations, "NodeDeregistration"),
      ];
    case CommandType.NodeUpdateStatus:
      return [
        ...node(command.payload.NodeID, "NodeEvent"),
        ...evaluations(command.payload.Evaluations, "NodeEvent"),
      ];
    case CommandType.NodeUpdateDrain:
      return [
        ...node(command.payload.NodeID, "NodeDrain"),
        ...evaluations(command.payload.Evaluations, "NodeDrain"),
      ];
    case CommandType.NodeUpdateEligibility:
      return [
        ...node(command.payload.NodeID, "NodeEligibility"),
        ...evaluations(command.payload.Evaluations, "NodeEligibility"),
      ];
    case CommandType.JobRegister: {
      const { Job: registered, Evaluation: evaluation } = command.payload;
      return [
        ...job(registered.Namespace, registered.ID, "JobRegistered"),
        ...evaluations(evaluation === null ? [] : [evaluation], "JobRegistered"),
      ];
    }
    case CommandType.JobDeregister: {
      const { Namespace, JobID, Evaluation: evaluation } = command.payload;
      return [
        ...job(Namespace, JobID, "JobDeregistered"),
        ...evaluations(evaluation === null ? [] : [evaluation], "JobDeregistered"),
      ];
    }
    case CommandType.JobBatchDeregister:
      // One that changed after it was picked is still there.
      return command.payload.Jobs.filter(({ Namespace, ID }) => state.job(Namespace, ID) === null).map(
        ({ Namespace, ID }) => make("Job", "JobBatchDeregistered", { ID, Namespace }),
      );
    case CommandType.NodeCollect:
      return command.payload.Nodes.filter(({ ID }) => state.node(ID) === null).map(({ ID }) =>
        make("Node", "NodeDeregistration", { ID }),
      );
    case CommandType.EvaluationUpdate:
      return evaluations(command.payload.Evaluations, "EvaluationUpdated");
    case CommandType.PlanApply: {
      const { Placed, Stopped, Preempted, Deployment } = command.payload;
      const ids = [...Placed, ...Stopped, ...Preempted].map(({ ID }) => ID);
      const deployment = Deployment === null ? null : state.deployment(Deployment.ID);
      return [
        ...allocations(ids, "PlanResult"),
        ...(deployment === null ? [] : [make("Deployment", "PlanResult", deployment, [deployment.JobID])]),
      ];
    }
    case CommandType.DeploymentStatusUpdate: {
      const { Update, Job, Evaluation } = command.payload;
      return [
        ...deployment(Update.DeploymentID, "DeploymentStatusUpdate"),
        ...(Job === null ? [] : job(Job.Namespace, Job.ID, "DeploymentStatusUpdate")),
        ...evaluations(Evaluation === null ? [] : [Evaluation], "DeploymentStatusUpdate"),
      ];
    }
    case CommandType.DeploymentPromote: {
      const { DeploymentID, All, Groups, Evaluation } = command.payload;
      const promoted = Object.entries(state.deployment(DeploymentID)?.TaskGroups ?? {}).filter(
        ([name]) => All || Groups.includes(name),
      );
      return [
        ...deployment(DeploymentID, "DeploymentPromotion"),
        ...allocations(
          promoted.flatMap(([, group]) => group.PlacedCanaries ?? []),
          "DeploymentPromotion",
        ),
        ...evaluations(Evaluation === null ? [] : [Evaluation], "DeploymentPromotion"),
      ];
    }
    case CommandType.DeploymentAllocHealth: {
      const { DeploymentID, HealthyAllocationIDs, UnhealthyAllocationIDs, Job, Evaluation } = command.payload;
      return [
        ...deployment(DeploymentID, "DeploymentAllocHealth"),
        ...allocations([...HealthyAllocationIDs, ...UnhealthyAllocationIDs], "DeploymentAllocHealth"),
        ...(Job === null ? [] : job(Job.Namespace, Job.ID, "DeploymentAllocHealth")),
        ...evaluations(Evaluation === null ? [] : [Evaluation], "DeploymentAllocHealth"),
      ];
    }
    case CommandType.AllocationClientUpdate:
      return [
        ...allocations(
          command.payload.Updates.map(({ ID }) => ID),
          "AllocationUpdated",
        ),
        ...evaluations(command.payload.Evaluations, "AllocationUpdated"),
      ];
    case CommandType.AllocationDesiredTransition:
      return [
        ...allocations(Object.keys(command.payload.Transitions), "AllocationUpdateDesiredStatus"),
        ...evaluations(command.payload.Evaluations, "AllocationUpdateDesiredStatus"),
      ];
    default:
      return [];
  }
}
