/**
 * Which rows can take a group whatever runs there, and what is counted of those that can't. It depends on the group's
 * constraints and on what nodes say of themselves, not on what they run: the groups of many jobs ask for the same, and a
 * thread keeps what it found until a node changes.
 */
import type { Job, NodeColumns, TaskGroup } from "@drover/plugin-sdk";
import { Candidates } from "@drover/plugin-sdk/scheduling";
import { firstFailures, type RowTest, readyRows, rowTests } from "./feasibility.js";
import { classEligibility } from "./row-values.js";

export interface FeasibleRows {
  /** Ready, eligible, and in one of the job's datacenters. */
  readonly ready: Int32Array;
  readonly byDatacenter: Readonly<Record<string, number>>;
  readonly tests: readonly RowTest[];
  /** By row: 0, or the number (plus one) of the reason in `reasons` for which it can't take the group. */
  readonly failed: Uint16Array;
  readonly reasons: readonly string[];
  /** Of `ready` those that passed. */
  readonly feasible: Int32Array;
  readonly candidates: Candidates;
  /** Computed class to whether a node of it may pass the constraints. */
  classes(): Readonly<Record<string, boolean>>;
}

/** Nothing in the answer may be changed: it is shared. */
export function feasibleRows(job: Job, group: TaskGroup, columns: NodeColumns, length: number): FeasibleRows {
  const { rows: ready, byDatacenter } = readyRows(columns, length, job.Datacenters);
  const tests = rowTests(job, group, columns);
  const { failed, reasons } = firstFailures(ready, tests, length);
  const candidates = new Candidates(length);
  const feasible = new Int32Array(ready.length);
  let found = 0;
  for (let i = 0; i < ready.length; i++) {
    const row = ready[i]!;
    if (failed[row] !== 0) continue;
    candidates.add(row);
    feasible[found++] = row;
  }
  let classes: Readonly<Record<string, boolean>> | undefined;
  return {
    ready,
    byDatacenter,
    tests,
    failed,
    reasons,
    feasible: feasible.subarray(0, found),
    candidates,
    classes: () => {
      classes ??= classEligibility(columns, ready, failed, tests);
      return classes;
    },
  };
}

/** Answers kept; each is some bytes a node. */
const KEPT = 32;

export class FeasibleRowsCache {
  readonly #known = new Map<string, FeasibleRows>();
  #version = -1;
  #length = -1;

  get(job: Job, group: TaskGroup, columns: NodeColumns, length: number): FeasibleRows {
    const version = columns.nodesVersion;
    if (version !== this.#version || length !== this.#length) this.#known.clear();
    this.#version = version;
    this.#length = length;
    const key = askOf(job, group);
    let found = this.#known.get(key);
    if (found === undefined) {
      found = feasibleRows(job, group, columns, length);
      // A node that changed while this was found out is looked at again by who comes next.
      if (columns.nodesVersion === version) this.#known.set(key, found);
    } else this.#known.delete(key);
    this.#known.set(key, found);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(oldest);
    }
    return found;
  }
}

/** All that feasibility depends on in a job. */
function askOf(job: Job, group: TaskGroup): string {
  return JSON.stringify([
    job.Datacenters,
    job.Constraints,
    group.Constraints,
    group.Volumes,
    group.Networks,
    group.Tasks.map(({ Driver, Constraints, Resources }) => [Driver, Constraints, Resources.Devices]),
  ]);
}
