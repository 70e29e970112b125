/** Packing of plans, done in the scheduling threads: the main thread has other things to do. */
import { type Allocation, allocIsTerminal, NodeCheck, type PackedPlan, type Plan } from "@drover/plugin-sdk";
import { allocationUse, type ResourceUse } from "@drover/plugin-sdk/scheduling";
import { encodePlanCommand, stopOf } from "./plan-command.js";

/** Placements of one log entry: what applying it takes must leave the leader's event loop its turns. */
const PLACEMENTS_A_COMMAND = 104;

/** Whether everything about an allocation can be counted: it holds nothing that must be told apart. */
function isCounted(allocation: Allocation): boolean {
  const { Shared, Tasks } = allocation.AllocatedResources;
  if (Shared.Ports !== null || Shared.Networks !== null) return false;
  for (const name in Tasks) {
    const task = Tasks[name]!;
    if (task.Networks !== null || task.Devices !== null || task.Cpu.ReservedCores !== null) return false;
  }
  return true;
}

/**
 * Whether all that a plan takes are numbers: another may be made beside it, and only these numbers need to be known. Not so
 * where it pushes others aside, or where ports, cores or devices are given.
 */
export function onlyCounts(plan: Plan): boolean {
  if (Object.keys(plan.NodePreemptions).length > 0) return false;
  const seen = new Set<object>();
  for (const id in plan.NodeAllocation) {
    for (const allocation of plan.NodeAllocation[id]!) {
      if (seen.has(allocation.AllocatedResources)) continue;
      if (!isCounted(allocation)) return false;
      seen.add(allocation.AllocatedResources);
    }
  }
  return true;
}

/** Packs a plan. `time` is Unix nanoseconds. */
export function packPlan(plan: Plan, time: number): PackedPlan {
  const numbers = new Map<string, number>();
  for (const lists of [plan.NodeUpdate, plan.NodePreemptions, plan.NodeAllocation])
    for (const id of Object.keys(lists)) if (!numbers.has(id)) numbers.set(id, numbers.size);
  const nodes = [...numbers.keys()];
  const message = {
    evaluation: plan.EvalID,
    token: plan.EvalToken,
    priority: plan.Priority,
    allAtOnce: plan.AllAtOnce,
    preempts: Object.keys(plan.NodePreemptions).length > 0,
    nodes,
    checks: new Uint8Array(nodes.length),
    cpu: new Float64Array(nodes.length),
    memory: new Float64Array(nodes.length),
    disk: new Float64Array(nodes.length),
  };
  const uses = new Map<object, { readonly use: ResourceUse; readonly counts: boolean }>();
  for (const [id, placed] of Object.entries(plan.NodeAllocation)) {
    const node = numbers.get(id)!;
    const makesRoom = plan.NodeUpdate[id] !== undefined || plan.NodePreemptions[id] !== undefined;
    let check: number = NodeCheck.None;
    for (const allocation of placed) {
      if (allocIsTerminal(allocation)) continue;
      if (check === NodeCheck.None) check = makesRoom ? NodeCheck.Whole : NodeCheck.Counted;
      let known = uses.get(allocation.AllocatedResources);
      if (known === undefined) {
        known = { use: allocationUse(allocation.AllocatedResources), counts: isCounted(allocation) };
        uses.set(allocation.AllocatedResources, known);
      }
      if (!known.counts || allocation.CreateIndex !== 0) check = NodeCheck.Whole;
      message.cpu[node]! += known.use.cpu;
      message.memory[node]! += known.use.memory;
      message.disk[node]! += known.use.disk;
    }
    message.checks[node] = check;
  }
  return { ...message, commands: commandsOf(plan, time) };
}

/**
 * The log entries of a plan. Stops go with the first placements, so that their room is free for all that follow; a plan that
 * is all or nothing, or that evicts others, is one entry.
 */
function commandsOf(plan: Plan, time: number): Uint8Array[] {
  const placed = Object.values(plan.NodeAllocation).flat();
  const preempted = Object.values(plan.NodePreemptions).flat();
  const whole = plan.AllAtOnce || preempted.length > 0;
  const size = whole ? Math.max(1, placed.length) : PLACEMENTS_A_COMMAND;
  const commands: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < placed.length; at += size) {
    const first = at === 0;
    commands.push(
      encodePlanCommand({
        EvalID: plan.EvalID,
        Placed: placed.slice(at, at + size),
        Stopped: first ? Object.values(plan.NodeUpdate).flat().map(stopOf) : [],
        Preempted: first ? preempted.map(stopOf) : [],
        Deployment: first ? plan.Deployment : null,
        DeploymentUpdates: first ? plan.DeploymentUpdates : [],
        Evaluations: [],
        Time: time,
      }),
    );
  }
  return commands;
}
