/** Where the allocations of one job run, the plan's changes included; and the rules that depend on it. */
import {
  type AllocationOutline,
  allocIsTerminal,
  type Constraint,
  ConstraintOperand,
  type Job,
  type NodeColumns,
  type StateSnapshot,
  type TaskGroup,
} from "@drover/plugin-sdk";
import { resolveInRow } from "@drover/plugin-sdk/scheduling";

/** Number of a job's allocations by group and row; only those that aren't terminal. */
export class JobRows {
  readonly job: Job;
  readonly #groups = new Map<string, Map<number, number>>();
  readonly #all = new Map<number, number>();

  constructor(job: Job, columns: NodeColumns, state: StateSnapshot) {
    this.job = job;
    for (const allocation of state.allocationOutlines(job.Namespace, job.ID)) {
      const row = allocIsTerminal(allocation) ? undefined : columns.row(allocation.NodeID);
      if (row !== undefined) this.add(row, allocation, 1);
    }
  }

  owns(allocation: AllocationOutline): boolean {
    return allocation.JobID === this.job.ID && allocation.Namespace === this.job.Namespace;
  }

  add(row: number, allocation: AllocationOutline, by: 1 | -1): void {
    bump(this.#all, row, by);
    bump(this.rowsOf(allocation.TaskGroup), row, by);
  }

  inGroup(group: string, row: number): number {
    return this.#groups.get(group)?.get(row) ?? 0;
  }

  inJob(row: number): number {
    return this.#all.get(row) ?? 0;
  }

  /** Rows to counts: of a group, or of the job. */
  rowsOf(group: string): Map<number, number> {
    let rows = this.#groups.get(group);
    if (rows === undefined) {
      rows = new Map();
      this.#groups.set(group, rows);
    }
    return rows;
  }

  allRows(): ReadonlyMap<number, number> {
    return this.#all;
  }
}

interface PropertyRule {
  readonly target: string;
  readonly limit: number;
  /** Counts the allocations of the job, not of the group alone. */
  readonly wholeJob: boolean;
  readonly counts: Map<string, number>;
}

/** `distinct_hosts` and `distinct_property` on a group. */
export class DistinctRules {
  readonly #columns: NodeColumns;
  readonly #group: TaskGroup;
  readonly #rows: JobRows;
  readonly #hostsOfJob: boolean;
  readonly #hostsOfGroup: boolean;
  readonly #properties: PropertyRule[];

  constructor(job: Job, group: TaskGroup, columns: NodeColumns, rows: JobRows) {
    this.#columns = columns;
    this.#group = group;
    this.#rows = rows;
    this.#hostsOfJob = (job.Constraints ?? []).some(wantsDistinctHosts);
    this.#hostsOfGroup = (group.Constraints ?? []).some(wantsDistinctHosts);
    this.#properties = [
      ...(job.Constraints ?? []).filter(isDistinctProperty).map((one) => propertyRule(one, true)),
      ...(group.Constraints ?? []).filter(isDistinctProperty).map((one) => propertyRule(one, false)),
    ];
    for (const rule of this.#properties) {
      for (const [row, count] of rule.wholeJob ? rows.allRows() : rows.rowsOf(group.Name)) {
        this.#count(rule, row, count);
      }
    }
  }

  /** False when the group has no such rule, so that nothing needs to be asked. */
  get any(): boolean {
    return this.#hostsOfJob || this.#hostsOfGroup || this.#properties.length > 0;
  }

  changed(row: number, allocation: AllocationOutline, by: 1 | -1): void {
    for (const rule of this.#properties) {
      if (rule.wholeJob || allocation.TaskGroup === this.#group.Name) this.#count(rule, row, by);
    }
  }

  /** Why the row can't take an allocation of the group, null when it can; `instead`: in the place of this one there. */
  violation(row: number, instead: AllocationOutline | null): string | null {
    const leaving = instead === null ? 0 : 1;
    if (this.#hostsOfJob && this.#rows.inJob(row) > leaving) return ConstraintOperand.DistinctHosts;
    if (this.#hostsOfGroup && this.#rows.inGroup(this.#group.Name, row) > leaving)
      return ConstraintOperand.DistinctHosts;
    for (const rule of this.#properties) {
      const value = resolveInRow(rule.target, this.#columns, row);
      if (value === undefined) return `missing property "${rule.target}"`;
      const used = (rule.counts.get(value) ?? 0) - leaving;
      if (used >= rule.limit) return `distinct_property: ${rule.target}=${value} used by ${used} allocs`;
    }
    return null;
  }

  #count(rule: PropertyRule, row: number, by: number): void {
    const value = resolveInRow(rule.target, this.#columns, row);
    if (value !== undefined) bump(rule.counts, value, by);
  }
}

/** `distinct_hosts` may be switched off by the value "false". */
function wantsDistinctHosts(constraint: Constraint): boolean {
  return (
    constraint.Operand === ConstraintOperand.DistinctHosts && constraint.RTarget.toLowerCase() !== "false"
  );
}

function isDistinctProperty(constraint: Constraint): boolean {
  return constraint.Operand === ConstraintOperand.DistinctProperty;
}

function propertyRule(constraint: Constraint, wholeJob: boolean): PropertyRule {
  // Admission checks the number; a value that is none allows nothing, which the metrics then show.
  const limit = constraint.RTarget === "" ? 1 : Number(constraint.RTarget);
  return {
    target: constraint.LTarget,
    limit: Number.isInteger(limit) ? limit : 0,
    wholeJob,
    counts: new Map(),
  };
}

function bump<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
