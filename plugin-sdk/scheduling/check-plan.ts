/**
 * Whether a plan is one at all: what a scheduler could have got wrong whatever the state is now. What depends on the present
 * state (room that another plan took meanwhile) is for the leader to judge, node by node.
 */
import type { StateSnapshot } from "../contracts/state.js";
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  allocIsTerminal,
} from "../domain/allocation.js";
import type { Evaluation } from "../domain/evaluation.js";
import type { Plan } from "../domain/plan.js";
import type { AllocatedResources } from "../domain/resources.js";
import { allocationUse, nodeCapacity } from "./fit.js";

export interface PlanScope {
  readonly evaluation: Pick<Evaluation, "ID" | "JobID" | "Namespace">;
  /** Token of the delivery. */
  readonly token: string;
  /** The state that the plan was made against. */
  readonly state: Pick<StateSnapshot, "node" | "job" | "allocation">;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const CLIENT_STATUSES: ReadonlySet<unknown> = new Set(Object.values(AllocClientStatus));
const DESIRED_STATUSES: ReadonlySet<unknown> = new Set(Object.values(AllocDesiredStatus));

class Impossible extends Error {}

/**
 * Why a plan can't be taken; null for one that can. One pass over its allocations; resources that allocations share as one
 * object are looked at once.
 */
export function checkPlan(plan: unknown, scope: PlanScope): string | null {
  try {
    new PlanCheck(scope).check(plan);
    return null;
  } catch (error) {
    if (error instanceof Impossible) return error.message;
    throw error;
  }
}

class PlanCheck {
  readonly #scope: PlanScope;
  readonly #ids = new Set<string>();
  readonly #resources = new Set<object>();

  constructor(scope: PlanScope) {
    this.#scope = scope;
  }

  check(value: unknown): void {
    const plan = value as Plan;
    need(isObject(plan), `the plan is ${kindOf(value)}, not an object`);
    const { evaluation, token } = this.#scope;
    need(plan.EvalID === evaluation.ID, `the plan's EvalID is ${show(plan.EvalID)}, not the evaluation's`);
    need(
      plan.EvalToken === token,
      "the plan's EvalToken is not that of this delivery (make plans with newPlan)",
    );
    need(typeof plan.AllAtOnce === "boolean", `the plan's AllAtOnce is ${show(plan.AllAtOnce)}`);
    need(Number.isInteger(plan.Priority), `the plan's Priority is ${show(plan.Priority)}`);
    need(Array.isArray(plan.DeploymentUpdates), "the plan's DeploymentUpdates is not a list");
    need(
      plan.Deployment === null || (isObject(plan.Deployment) && plan.Deployment.JobID === evaluation.JobID),
      "the plan's Deployment is not one of the evaluation's job",
    );
    this.#lists("NodeUpdate", plan.NodeUpdate, (node, one) => this.#stopped("NodeUpdate", node, one));
    this.#lists("NodePreemptions", plan.NodePreemptions, (node, one) =>
      this.#stopped("NodePreemptions", node, one),
    );
    const placed = this.#lists("NodeAllocation", plan.NodeAllocation, (node, one) => this.#placed(node, one));
    if (placed === 0) return;
    const job = this.#scope.state.job(evaluation.Namespace, evaluation.JobID);
    need(job !== null, `the plan places allocations of job ${evaluation.JobID}, which does not exist`);
    need(!job.Stop, `the plan places allocations of job ${evaluation.JobID}, which is stopped`);
    for (const [node, list] of Object.entries(plan.NodeAllocation))
      this.#room(node, list, job.TaskGroups ?? []);
  }

  #lists(name: string, lists: unknown, each: (node: string, allocation: Allocation) => void): number {
    need(
      isObject(lists) && !Array.isArray(lists),
      `the plan's ${name} is ${kindOf(lists)}, not lists by node`,
    );
    let count = 0;
    for (const [node, list] of Object.entries(lists as Record<string, unknown>)) {
      need(Array.isArray(list), `the plan's ${name} of node ${node} is ${kindOf(list)}, not a list`);
      for (const allocation of list as Allocation[]) {
        const at = `the plan's ${name} of node ${node}`;
        need(isObject(allocation), `${at} holds ${kindOf(allocation)}, not an allocation`);
        const id: unknown = allocation.ID;
        need(
          typeof id === "string" && UUID.test(id),
          `${at} holds an allocation with the ID ${show(id)}, no UUID`,
        );
        need(!this.#ids.has(id), `the plan names allocation ${id} twice`);
        this.#ids.add(id);
        need(
          allocation.NodeID === node,
          `${at} holds allocation ${id} with the NodeID ${show(allocation.NodeID)}`,
        );
        each(node, allocation);
        count++;
      }
    }
    return count;
  }

  #stopped(name: string, node: string, allocation: Allocation): void {
    const { ID } = allocation;
    const row = this.#scope.state.allocation(ID);
    need(row !== null, `the plan's ${name} names allocation ${ID}, which does not exist`);
    need(
      row.NodeID === node,
      `the plan's ${name} names allocation ${ID} on node ${node}; it is on ${row.NodeID}`,
    );
    need(
      name === "NodePreemptions" || this.#owns(row),
      `the plan stops allocation ${ID} of job ${row.JobID}; its evaluation is of job ${this.#scope.evaluation.JobID}`,
    );
    need(
      DESIRED_STATUSES.has(allocation.DesiredStatus) && allocation.DesiredStatus !== AllocDesiredStatus.Run,
      `the plan's ${name} gives allocation ${ID} the DesiredStatus ${show(allocation.DesiredStatus)}`,
    );
    for (const key of ["DesiredDescription", "FollowupEvalID", "PreemptedByAllocation"] as const) {
      const text: unknown = allocation[key];
      need(
        text === undefined || typeof text === "string",
        `the plan gives allocation ${ID} the ${key} ${show(text)}, no string`,
      );
    }
  }

  #placed(node: string, allocation: Allocation): void {
    const { ID } = allocation;
    need(
      this.#owns(allocation),
      `the plan places allocation ${ID} of job ${show(allocation.JobID)} in namespace ${show(allocation.Namespace)}; ` +
        `its evaluation is of job ${this.#scope.evaluation.JobID}`,
    );
    const row = allocation.CreateIndex === 0 ? null : this.#scope.state.allocation(ID);
    need(
      allocation.CreateIndex === 0 || (row !== null && row.NodeID === node && this.#owns(row)),
      `the plan updates allocation ${ID} on node ${node}, where the job has no such allocation`,
    );
    for (const key of ["Name", "TaskGroup", "NodeName", "EvalID", "DeploymentID"] as const) {
      const text: unknown = allocation[key];
      need(typeof text === "string", `the plan gives allocation ${ID} the ${key} ${show(text)}, no string`);
    }
    need(
      CLIENT_STATUSES.has(allocation.ClientStatus) && DESIRED_STATUSES.has(allocation.DesiredStatus),
      `the plan gives allocation ${ID} the status ${show(allocation.ClientStatus)}, ${show(allocation.DesiredStatus)}`,
    );
    for (const key of ["CreateIndex", "JobVersion", "CreateTime", "ModifyTime"] as const) {
      const number: unknown = allocation[key];
      need(
        typeof number === "number" && Number.isFinite(number),
        `the plan gives allocation ${ID} the ${key} ${show(number)}, no number`,
      );
    }
    need(
      allocation.Metrics === null || isObject(allocation.Metrics),
      `the plan gives allocation ${ID} the Metrics ${show(allocation.Metrics)}`,
    );
    const resources: unknown = allocation.AllocatedResources;
    need(isObject(resources), `the plan gives allocation ${ID} no AllocatedResources`);
    if (this.#resources.has(resources)) return;
    checkResources(ID, allocation.AllocatedResources);
    this.#resources.add(resources);
  }

  /** What the plan puts on a node must at least fit on it were it empty. */
  #room(nodeId: string, placed: readonly Allocation[], groups: readonly { readonly Name: string }[]): void {
    const node = this.#scope.state.node(nodeId);
    need(node !== null, `the plan places allocations on node ${nodeId}, which does not exist`);
    const sum = { cpu: 0, memory: 0, disk: 0 };
    for (const allocation of placed) {
      need(
        groups.some(({ Name }) => Name === allocation.TaskGroup),
        `the plan places allocation ${allocation.ID} of group "${allocation.TaskGroup}", which the job does not have`,
      );
      if (allocIsTerminal(allocation)) continue;
      const use = allocationUse(allocation.AllocatedResources);
      sum.cpu += use.cpu;
      sum.memory += use.memory;
      sum.disk += use.disk;
    }
    const capacity = nodeCapacity(node);
    for (const dimension of ["cpu", "memory", "disk"] as const) {
      need(
        sum[dimension] <= capacity[dimension],
        `the plan puts more on node ${nodeId} than it has: ${dimension} ${sum[dimension]} of ${capacity[dimension]}`,
      );
    }
  }

  #owns(allocation: Pick<Allocation, "JobID" | "Namespace">): boolean {
    const { JobID, Namespace } = this.#scope.evaluation;
    return allocation.JobID === JobID && allocation.Namespace === Namespace;
  }
}

function checkResources(id: string, { Shared, Tasks }: AllocatedResources): void {
  need(
    isObject(Shared) && isObject(Tasks),
    `the plan gives allocation ${id} AllocatedResources without Shared or Tasks`,
  );
  amount(id, "Shared.DiskMB", Shared.DiskMB);
  lists(id, "Shared.", Shared, ["Networks", "Ports"]);
  for (const name in Tasks) {
    const task = Tasks[name];
    need(
      isObject(task) && isObject(task.Cpu) && isObject(task.Memory),
      `the plan gives task ${name} of allocation ${id} no Cpu or Memory`,
    );
    amount(id, `Tasks.${name}.Cpu.CpuShares`, task.Cpu.CpuShares);
    amount(id, `Tasks.${name}.Memory.MemoryMB`, task.Memory.MemoryMB);
    lists(id, `Tasks.${name}.Cpu.`, task.Cpu, ["ReservedCores"]);
    lists(id, `Tasks.${name}.`, task, ["Networks", "Devices"]);
  }
}

function lists<T extends object>(
  id: string,
  path: string,
  holder: T,
  keys: readonly (keyof T & string)[],
): void {
  for (const key of keys) {
    const list: unknown = holder[key];
    need(
      list === null || Array.isArray(list),
      `the plan gives allocation ${id} the ${path}${key} ${show(list)}, neither a list nor null`,
    );
  }
}

function amount(id: string, key: string, value: unknown): void {
  need(
    typeof value === "number" && Number.isFinite(value) && value >= 0,
    `the plan gives allocation ${id} the ${key} ${show(value)}`,
  );
}

function need(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Impossible(otherwise);
}

function isObject<T>(value: T): value is T & object {
  return typeof value === "object" && value !== null;
}

function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
}

/** A value in a message, short whatever it is. */
function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 64));
  return typeof value === "object" || typeof value === "function" ? kindOf(value) : String(value);
}
