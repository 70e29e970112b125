/** What happened in a history, to see that it was worth running. */
export interface Coverage {
  applied: number;
  crashes: number;
  tornWrites: number;
  fullDisks: number;
  partitions: number;
  snapshots: number;
  installs: number;
  leftoverInstalls: number;
  failedFetches: number;
  resumedFetches: number;
  restores: number;
  membershipChanges: number;
  transfers: number;
  transfersAborted: number;
  writes: number;
  reads: number;
  unknown: number;
}

export function noCoverage(): Coverage {
  return {
    applied: 0,
    crashes: 0,
    tornWrites: 0,
    fullDisks: 0,
    partitions: 0,
    snapshots: 0,
    installs: 0,
    leftoverInstalls: 0,
    failedFetches: 0,
    resumedFetches: 0,
    restores: 0,
    membershipChanges: 0,
    transfers: 0,
    transfersAborted: 0,
    writes: 0,
    reads: 0,
    unknown: 0,
  };
}
