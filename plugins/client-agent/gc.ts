/** Which ended allocations leave the disk (https://developer.hashicorp.com/nomad/docs/configuration/client#gc_max_allocs). */

export interface GcCandidate {
  readonly id: string;
  /** When it ended, any clock; undefined while it runs. */
  readonly ended: number | undefined;
  /** The servers know how it ended. */
  readonly reported: boolean;
}

export interface GcLimits {
  readonly maxAllocations: number;
  readonly maxDiskPercent: number;
}

/**
 * Ids to remove, oldest first: as many as there are allocations beyond the limit, and where the disk is fuller than it may
 * be, one more with every call until it isn't. What the servers have not heard of yet stays.
 */
export function chooseGarbage(
  allocations: readonly GcCandidate[],
  diskPercent: number,
  limits: GcLimits,
): string[] {
  const ended = allocations
    .filter((allocation) => allocation.ended !== undefined && allocation.reported)
    .sort((a, b) => a.ended! - b.ended!);
  const beyond = Math.max(0, allocations.length - limits.maxAllocations);
  const wanted = Math.max(beyond, diskPercent > limits.maxDiskPercent ? 1 : 0);
  return ended.slice(0, wanted).map((allocation) => allocation.id);
}
