import type { NetworkFaults } from "./network.js";
import type { Random } from "./random.js";
import type { CoreLimits } from "./server.js";

/** Which faults a history has, and how often each comes: mean milliseconds between two, 0 for never. */
export interface FaultRates {
  readonly crash: number;
  /** Every server at once: what only one of them had durable is all there is. */
  readonly blackout: number;
  /** The leader, as soon as it is elected. */
  readonly crashNewLeader: number;
  readonly partition: number;
  readonly slowDisk: number;
  readonly fullDisk: number;
  readonly clock: number;
  readonly membership: number;
  readonly transfer: number;
  readonly snapshot: number;
  readonly restore: number;
}

export interface Profile {
  readonly size: number;
  readonly spares: number;
  readonly clients: number;
  readonly keys: number;
  readonly network: NetworkFaults;
  readonly rates: FaultRates;
  readonly limits: CoreLimits;
  /** The first configuration is a part of every log's start, as logs of one server had it, instead of its first entry. */
  readonly bornConfigured: boolean;
}

/**
 * Every seed has faults of its own: some it has not at all, some often. Histories that are hard in one way find more than
 * histories that are a little hard in all.
 */
export function drawProfile(random: Random): Profile {
  const sometimes = (mean: number): number => (random.chance(0.5) ? mean * random.pick([0.5, 1, 3]) : 0);
  return {
    size: random.pick([1, 3, 3, 3, 5]),
    spares: 2,
    clients: 4,
    keys: 4,
    network: {
      loss: random.pick([0, 0.01, 0.05, 0.2]),
      duplication: random.pick([0, 0.05]),
      late: random.pick([0, 0.02, 0.2]),
      lateness: random.pick([10, 60, 300]),
    },
    rates: {
      crash: sometimes(400),
      blackout: sometimes(1500),
      crashNewLeader: sometimes(300),
      partition: sometimes(300),
      slowDisk: sometimes(500),
      fullDisk: sometimes(1200),
      clock: sometimes(400),
      membership: sometimes(250),
      transfer: sometimes(600),
      snapshot: sometimes(60),
      restore: sometimes(1500),
    },
    limits: {
      electionTicks: 10,
      heartbeatTicks: 2,
      maxAppendBytes: random.pick([1, 100, 10_000]),
      maxInflightAppends: random.pick([1, 4, 32]),
      maxInflightBytes: random.pick([1, 500, 100_000]),
      maxApplyBytes: random.pick([50, 10_000]),
    },
    bornConfigured: random.chance(0.2),
  };
}

/** A cluster to which nothing happens. */
export function calmProfile(size: number): Profile {
  return {
    size,
    spares: 0,
    clients: 4,
    keys: 4,
    network: { loss: 0.001, duplication: 0, late: 0, lateness: 1 },
    rates: {
      crash: 0,
      blackout: 0,
      crashNewLeader: 0,
      partition: 0,
      slowDisk: 0,
      fullDisk: 0,
      clock: 0,
      membership: 0,
      transfer: 0,
      snapshot: 500,
      restore: 0,
    },
    limits: {
      electionTicks: 10,
      heartbeatTicks: 2,
      maxAppendBytes: 10_000,
      maxInflightAppends: 32,
      maxInflightBytes: 100_000,
      maxApplyBytes: 10_000,
    },
    bornConfigured: false,
  };
}
