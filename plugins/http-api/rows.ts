/** Lists: rows of a snapshot turned into what the API prints, one at a time while they are sent. */
import type { Allocation, StateSnapshot } from "@drover/plugin-sdk";
import { allocationDetail, allocationStub } from "./json-shapes.js";

export function* mapRows<T>(rows: Iterable<T>, shape: (row: T) => unknown): Generator<unknown> {
  for (const row of rows) yield shape(row);
}

/** Allocation stubs. The job's type is looked up once per job, not once per allocation. */
export function allocationStubs(
  snapshot: StateSnapshot,
  allocations: Iterable<Allocation>,
  withResources = false,
): Generator<unknown> {
  const types = new Map<string, string>();
  return mapRows(allocations, (alloc) => {
    const key = `${alloc.Namespace}\0${alloc.JobID}\0${alloc.JobVersion}`;
    let type = types.get(key);
    if (type === undefined) {
      type = snapshot.allocationJob(alloc)?.Type ?? "";
      types.set(key, type);
    }
    return allocationStub(alloc, type, withResources);
  });
}

export function allocationDetails(
  snapshot: StateSnapshot,
  allocations: Iterable<Allocation>,
): Generator<unknown> {
  return mapRows(allocations, (alloc) => allocationDetail(alloc, snapshot.allocationJob(alloc)));
}
