/** What happens beside the plans: nodes that come, go and drain, allocations that end or become healthy, jobs that change. */
import {
  type Allocation,
  type DesiredTransition,
  deploymentActive,
  type StateSnapshot,
} from "@drover/plugin-sdk";
import fc from "fast-check";
import { type Command, CommandType } from "../../../core/state/index.js";
import { registration, report, TIME } from "../../core/state/support.js";
import { holdsResources } from "../reference/holdings.js";

const NODE_KINDS = ["down", "ready", "ineligible", "eligible", "drain", "undrain"] as const;
type NodeKind = (typeof NODE_KINDS)[number];
const JOB_KINDS = ["stop", "grow", "replace", "in-place", "healthy", "promote"] as const;
type JobKind = (typeof JOB_KINDS)[number];

export type Happening =
  | { readonly kind: NodeKind; readonly node: number }
  | { readonly kind: JobKind; readonly job: number }
  | { readonly kind: "finish"; readonly allocation: number }
  | { readonly kind: "migrate" };

export const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom(...NODE_KINDS), node: fc.nat({ max: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom(...JOB_KINDS), job: fc.nat({ max: 5 }) }) },
  fc.record({ kind: fc.constant("finish" as const), allocation: fc.nat({ max: 20 }) }),
  fc.record({ kind: fc.constant("migrate" as const) }),
);

const COMMON = { Event: null, Evaluations: [], Time: TIME };
const MIGRATE: DesiredTransition = { ForceReschedule: null, Migrate: true, Reschedule: null };

/** The command that makes it happen in the state as it is; null where there is nothing that it could happen to. */
export function commandOf(
  snapshot: StateSnapshot,
  one: Happening,
  nodes: readonly string[],
  jobs: readonly string[],
): Command | null {
  if ("node" in one) return nodeCommand(snapshot, one.kind, nodes[one.node % nodes.length]!);
  if ("job" in one) return jobCommand(snapshot, one.kind, jobs[one.job % jobs.length]!);
  if (one.kind === "migrate") return migrations(snapshot);
  const live = [...snapshot.allocations()].filter(holdsResources);
  const ended = live[one.allocation % Math.max(1, live.length)];
  return ended === undefined ? null : report(ended, { ClientStatus: "complete" });
}

function nodeCommand(snapshot: StateSnapshot, kind: NodeKind, NodeID: string): Command | null {
  const drains = snapshot.node(NodeID)!.DrainStrategy !== null;
  switch (kind) {
    case "down":
    case "ready":
      return {
        type: CommandType.NodeUpdateStatus,
        payload: { NodeID, Status: kind, Description: "", ...COMMON },
      };
    case "eligible":
    case "ineligible":
      // The server refuses to make a draining node eligible.
      if (drains) return null;
      return { type: CommandType.NodeUpdateEligibility, payload: { NodeID, Eligibility: kind, ...COMMON } };
    case "drain":
    case "undrain": {
      if (drains === (kind === "drain")) return null;
      const started = { ForceDeadline: "0001-01-01T00:00:00Z", StartedAt: "2026-01-01T00:00:00Z" };
      const Drain = kind === "drain" ? { Deadline: 0, IgnoreSystemJobs: false, ...started } : null;
      const payload = { NodeID, Drain, Complete: false, MarkEligible: true, Meta: null, ...COMMON };
      return { type: CommandType.NodeUpdateDrain, payload };
    }
  }
}

/** Everything that still runs on draining nodes is asked to leave, as their drainer does. */
function migrations(snapshot: StateSnapshot): Command | null {
  const Transitions: Record<string, DesiredTransition> = {};
  for (const node of snapshot.nodes()) {
    if (node.DrainStrategy === null) continue;
    for (const allocation of snapshot.allocationsByNode(node.ID)) {
      if (holdsResources(allocation) && allocation.DesiredTransition?.Migrate !== true)
        Transitions[allocation.ID] = MIGRATE;
    }
  }
  if (Object.keys(Transitions).length === 0) return null;
  return {
    type: CommandType.AllocationDesiredTransition,
    payload: { Transitions, Evaluations: [], Time: TIME },
  };
}

function jobCommand(snapshot: StateSnapshot, kind: JobKind, id: string): Command | null {
  if (kind === "healthy") return healthReports(snapshot, id);
  if (kind === "promote") return promotion(snapshot, id);
  if (kind === "stop") {
    const payload = { Namespace: "default", JobID: id, Purge: false, Evaluation: null, Time: TIME };
    return { type: CommandType.JobDeregister, payload };
  }
  const job = structuredClone(snapshot.job("default", id)!);
  job.Stop = false;
  const group = job.TaskGroups[0]!;
  const task = group.Tasks[0]!;
  if (kind === "grow") group.Count += 2;
  else if (kind === "replace") task.Env = { VERSION: String(job.Version + 1) };
  else task.KillTimeout += 1e9;
  return registration(job);
}

/** The agents find healthy whatever of the job's deployments runs and has no verdict; null where nothing has none. */
export function healthReports(snapshot: StateSnapshot, id: string): Command | null {
  const open = (one: Allocation): boolean =>
    holdsResources(one) && one.DeploymentID !== "" && (one.DeploymentStatus?.Healthy ?? null) === null;
  const DeploymentStatus = {
    Canary: false,
    Healthy: true,
    ModifyIndex: 0,
    Timestamp: "2026-01-01T00:00:00Z",
  };
  const Updates = snapshot
    .allocationsByJob("default", id)
    .filter(open)
    .flatMap((one) => {
      const command = report(one, { DeploymentStatus });
      return command.type === CommandType.AllocationClientUpdate ? command.payload.Updates : [];
    });
  if (Updates.length === 0) return null;
  return { type: CommandType.AllocationClientUpdate, payload: { Updates, Evaluations: [], Time: TIME } };
}

/** Null where the job's newest deployment has no healthy canaries that wait. */
export function promotion(snapshot: StateSnapshot, id: string): Command | null {
  const deployment = snapshot.latestDeployment("default", id);
  if (deployment === null || !deploymentActive(deployment)) return null;
  const healthy = (canary: string): boolean =>
    snapshot.allocation(canary)?.DeploymentStatus?.Healthy === true;
  const waits = Object.values(deployment.TaskGroups).some(
    ({ DesiredCanaries, Promoted, PlacedCanaries }) =>
      DesiredCanaries > 0 && !Promoted && (PlacedCanaries ?? []).filter(healthy).length >= DesiredCanaries,
  );
  if (!waits) return null;
  const payload = { DeploymentID: deployment.ID, All: true, Groups: [], Evaluation: null, Time: TIME };
  return { type: CommandType.DeploymentPromote, payload };
}
