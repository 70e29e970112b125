/** The reconciler for one group of a job. */
import {
  type AllocationOutline,
  AllocClientStatus,
  clientTerminal,
  serverTerminal,
  wholeAllocation,
} from "../domain/allocation.js";
import type { DeploymentState } from "../domain/deployment.js";
import type { Job, TaskGroup } from "../domain/job.js";
import type { DesiredUpdates } from "../domain/plan.js";
import { AllocNameIndex, inNameOrder } from "./names.js";
import { type JobDeployments, newDeploymentState, rollingUpdate } from "./reconcile-deployment.js";
import { type SortedAllocations, sortAllocations } from "./reconcile-sort.js";
import { chooseSurplus } from "./reconcile-surplus.js";
import {
  AllocDescription,
  type PlaceDecision,
  type ReconcileInput,
  type Replacement,
  type StopDecision,
} from "./reconcile-types.js";

/** What has to change in a group. */
export interface GroupChanges {
  readonly stop: StopDecision[];
  readonly place: PlaceDecision[];
  readonly inPlace: Replacement[];
  readonly destructive: Replacement[];
  /** What waits for a follow-up evaluation, with its time. */
  readonly later: ReadonlyMap<AllocationOutline, number>;
  readonly desired: DesiredUpdates;
  /** The group's part of a deployment that has to be made; null where none is needed. */
  readonly deploymentState: DeploymentState | null;
  /** Nothing remains to be done, and what the deployment wants is healthy and promoted. */
  readonly complete: boolean;
}

export function reconcileGroup(
  input: ReconcileInput,
  job: Job,
  group: TaskGroup,
  deployments: JobDeployments,
  allocations: readonly AllocationOutline[],
): GroupChanges {
  const sorted = sortAllocations(input, job, group, deployments, allocations);
  return new GroupReconciler(input, job, group, deployments, sorted).run();
}

/** How the allocations that stay follow the job's version. */
interface Updates {
  readonly inPlace: AllocationOutline[];
  readonly destructive: AllocationOutline[];
}

class GroupReconciler {
  readonly #input: ReconcileInput;
  readonly #job: Job;
  readonly #group: TaskGroup;
  readonly #deployments: JobDeployments;
  readonly #sorted: SortedAllocations;
  /** The group's part of the deployment that goes on. */
  readonly #state: DeploymentState | null;
  readonly #canaryIds: ReadonlySet<string>;
  readonly #names: AllocNameIndex;
  readonly #desired = emptyUpdates();
  readonly #stop: StopDecision[];
  readonly #place: PlaceDecision[] = [];
  readonly #later = new Map<AllocationOutline, number>();
  /** Canaries are tried, and not promoted. */
  #trial: boolean;

  constructor(
    input: ReconcileInput,
    job: Job,
    group: TaskGroup,
    deployments: JobDeployments,
    sorted: SortedAllocations,
  ) {
    this.#input = input;
    this.#job = job;
    this.#group = group;
    this.#deployments = deployments;
    this.#sorted = sorted;
    const groups = deployments.current?.TaskGroups ?? {};
    this.#state = Object.hasOwn(groups, group.Name) ? groups[group.Name]! : null;
    this.#trial = this.#state !== null && this.#state.DesiredCanaries > 0 && !this.#state.Promoted;
    this.#canaryIds = new Set(this.#trial ? this.#state?.PlacedCanaries : []);
    this.#names = new AllocNameIndex(job.ID, group.Name);
    this.#stop = [...sorted.stop];
    this.#desired.Stop += sorted.unneeded;
    this.#desired.Ignore += sorted.outdated;
  }

  run(): GroupChanges {
    const { Count } = this.#group;
    const kept = this.#without(this.#sorted.kept);
    const migrate = this.#without(this.#sorted.migrate);
    const surplus = chooseSurplus({
      kept,
      migrate,
      excess: kept.length + migrate.length - Count,
      job: this.#job,
    });
    this.#stopAll(surplus, AllocDescription.NotNeeded);
    const stays = (allocation: AllocationOutline): boolean => !surplus.has(allocation);
    const staying = surplus.size === 0 ? this.#sorted.kept : this.#sorted.kept.filter(stays);
    const moving = surplus.size === 0 ? this.#sorted.migrate : this.#sorted.migrate.filter(stays);

    const updates = this.#sortUpdates(staying);
    const newCanaries = this.#placeCanaries(staying, moving, updates.destructive);
    const held = this.#deployments.held || this.#trial;
    const limit = this.#limit(staying, updates, moving.length);

    const { placed, missing } = this.#placeMissing(staying, moving, held);
    const nameFor = this.#nameKeeper([...this.#without(staying), ...this.#without(moving)]);
    const destructive = this.#replace(updates.destructive, held ? 0 : Math.max(0, limit - placed), nameFor);
    this.#move(moving, nameFor);
    const waiting = this.#waitLater(updates.destructive, destructive);
    for (const allocation of this.#sorted.lost) {
      const at = this.#sorted.lostLater.get(allocation);
      if (at !== undefined) this.#later.set(allocation, at);
    }
    this.#desired.InPlaceUpdate = updates.inPlace.length;

    const joining =
      updates.destructive.length + updates.inPlace.length + placed + missing + moving.length + waiting;
    const updating = updates.destructive.length + updates.inPlace.length > 0;
    const left = joining - placed + this.#place.length + this.#sorted.lostLater.size;
    return {
      stop: this.#stop,
      place: this.#place,
      inPlace: updates.inPlace.map((allocation) => this.#replacement(allocation, allocation.Name)),
      destructive,
      later: this.#later,
      desired: this.#desired,
      deploymentState: this.#newState(joining, newCanaries, updating),
      complete: left === 0 && this.#isHealthy(),
    };
  }

  /** Without the canaries of a trial, which come on top of the count. */
  #without(allocations: readonly AllocationOutline[]): readonly AllocationOutline[] {
    return this.#trial ? allocations.filter((one) => !this.#isCanary(one)) : allocations;
  }

  #isCanary(allocation: AllocationOutline): boolean {
    return this.#canaryIds.has(allocation.ID);
  }

  #stopAll(
    allocations: Iterable<AllocationOutline>,
    description: string,
    clientStatus?: AllocClientStatus,
  ): void {
    for (const allocation of allocations) {
      this.#stop.push(
        clientStatus === undefined ? { allocation, description } : { allocation, description, clientStatus },
      );
      this.#desired.Stop++;
    }
  }

  #sortUpdates(staying: readonly AllocationOutline[]): Updates {
    const updates: Updates = { inPlace: [], destructive: [] };
    for (const allocation of staying) {
      const ended = clientTerminal(allocation);
      const done = this.#input.batch && allocation.ClientStatus === AllocClientStatus.Complete;
      const kind = done ? "ignore" : this.#input.updateKind(allocation, this.#job, this.#group);
      if (kind === "destructive") updates.destructive.push(allocation);
      // What ended needs no news of its job.
      else if (kind === "in-place" && !ended) updates.inPlace.push(allocation);
      else this.#desired.Ignore++;
    }
    return updates;
  }

  /** Begins or completes a trial; returns how many canaries it lacks, placed now or not. */
  #placeCanaries(
    staying: readonly AllocationOutline[],
    moving: readonly AllocationOutline[],
    destructive: readonly AllocationOutline[],
  ): number {
    const strategy = this.#rolled();
    const begins = this.#deployments.current === null && destructive.length > 0;
    if (strategy === null || strategy.Canary === 0 || !(this.#trial || begins)) return 0;
    const { lost, lostDue, lostLater, rescheduleNow } = this.#sorted;
    const canaries = [...staying, ...moving, ...rescheduleNow, ...lostLater.keys()].filter((allocation) =>
      this.#isCanary(allocation),
    );
    const gone = [...lost, ...lostDue].filter((one) => this.#isCanary(one) && !lostLater.has(one));
    const wanted = strategy.Canary - canaries.length;
    // Where all that ran the earlier version is gone, the trial goes on all the same.
    const toReplace = this.#trial ? this.#group.Count : destructive.length;
    if (wanted <= 0 || toReplace === 0) return 0;
    this.#trial = true;
    if (this.#deployments.held) return wanted;
    const replaced = inNameOrder(gone).slice(0, wanted);
    for (const previous of replaced) this.#placeOne(previous.Name, { previous, canary: true });
    for (const allocation of staying) if (!this.#isCanary(allocation)) this.#names.useOf(allocation);
    const names = this.#names.canaries(
      wanted - replaced.length,
      this.#group.Count,
      destructive.map((allocation) => allocation.Name),
      [...canaries, ...replaced].map((allocation) => allocation.Name),
    );
    for (const name of names) this.#placeOne(name, { canary: true });
    this.#desired.Canary += wanted;
    return wanted;
  }

  /** How many may be placed and replaced before what is on its way is healthy. */
  #limit(staying: readonly AllocationOutline[], { destructive, inPlace }: Updates, moving: number): number {
    const strategy = this.#rolled();
    if (strategy === null || destructive.length + moving === 0) return Number.POSITIVE_INFINITY;
    let limit = strategy.MaxParallel;
    const deployment = this.#deployments.current;
    if (deployment === null) {
      // They were on their way in an earlier deployment, and go on in the one that begins.
      for (const allocation of inPlace) {
        if (allocation.DeploymentID === "") continue;
        if (wholeAllocation(allocation).DeploymentStatus?.Healthy !== true) limit--;
      }
      return limit;
    }
    for (const allocation of staying) {
      if (allocation.DeploymentID !== deployment.ID) continue;
      const { DeploymentStatus } = wholeAllocation(allocation);
      if (DeploymentStatus?.Healthy === false) return 0;
      if (DeploymentStatus?.Healthy !== true) limit--;
    }
    return limit;
  }

  /**
   * Replaces what failed or was lost, and places what is missing besides. A deployment that is held, or tries canaries, holds
   * the latter only. Returns how many were placed, and how many it held.
   */
  #placeMissing(
    staying: readonly AllocationOutline[],
    moving: readonly AllocationOutline[],
    held: boolean,
  ): { placed: number; missing: number } {
    const { lost, lostDue, lostLater, rescheduleNow } = this.#sorted;
    this.#stopAll(lost, AllocDescription.Lost, AllocClientStatus.Lost);
    const taken = this.#without(staying).length + this.#without(moving).length;
    let missing = Math.max(0, this.#group.Count - taken);
    if (missing === 0 && rescheduleNow.length === 0) return { placed: 0, missing };
    for (const list of [staying, moving]) for (const one of this.#without(list)) this.#names.useOf(one);
    let placed = 0;
    const take = (previous: AllocationOutline): boolean => {
      if (missing === 0 || this.#names.has(previous.Name)) return false;
      this.#names.useOf(previous);
      missing--;
      return true;
    };
    for (const previous of inNameOrder(rescheduleNow)) {
      const canary = this.#isCanary(previous);
      if (canary || take(previous)) {
        this.#placeOne(previous.Name, { previous, reschedule: true, canary });
        if (!serverTerminal(previous)) this.#desired.Stop++;
        this.#desired.Place++;
        if (!canary) placed++;
      } else if (!serverTerminal(previous)) this.#stopAll([previous], AllocDescription.NotNeeded);
    }
    // Their clients may still run them, so nobody else gets their place.
    for (const waiting of inNameOrder([...lostLater.keys()])) if (!this.#isCanary(waiting)) take(waiting);
    // The earlier version goes on beside its canaries, also where it ended by itself.
    const ended = this.#trial ? this.#sorted.ended : [];
    const replaceable = [...lost, ...lostDue, ...ended].filter(
      (one) => !lostLater.has(one) && !this.#isCanary(one),
    );
    for (const previous of inNameOrder(replaceable)) {
      if (!take(previous)) continue;
      this.#placeOne(previous.Name, { previous });
      this.#desired.Place++;
      placed++;
    }
    if (held) return { placed, missing };
    for (; missing > 0; missing--) {
      this.#placeOne(this.#names.next(), {});
      this.#desired.Place++;
      placed++;
    }
    return { placed, missing };
  }

  #placeOne(
    name: string,
    { previous = null, reschedule = false, canary = false }: Partial<PlaceDecision>,
  ): void {
    this.#place.push({
      group: this.#group,
      name,
      previous,
      reschedule,
      canary,
      earlierVersion: this.#trial && !canary,
    });
  }

  #replace(
    wanted: readonly AllocationOutline[],
    limit: number,
    nameFor: (allocation: AllocationOutline) => string,
  ): Replacement[] {
    const chosen = limit > 0 ? inNameOrder(wanted).slice(0, limit) : [];
    this.#desired.DestructiveUpdate += chosen.length;
    this.#desired.Ignore += wanted.length - chosen.length;
    return chosen.map((allocation) => this.#replacement(allocation, nameFor(allocation)));
  }

  /** A replacement keeps its name, unless another holds that as well. */
  #nameKeeper(allocations: readonly AllocationOutline[]): (allocation: AllocationOutline) => string {
    let holders: Map<string, number> | undefined;
    return ({ Name }) => {
      if (holders === undefined) {
        holders = new Map();
        for (const one of allocations) holders.set(one.Name, (holders.get(one.Name) ?? 0) + 1);
        for (const name of holders.keys()) this.#names.use(name);
      }
      const held = holders.get(Name) ?? 0;
      if (held < 2) return Name;
      holders.set(Name, held - 1);
      return this.#names.next();
    };
  }

  #replacement(allocation: AllocationOutline, name: string): Replacement {
    return { allocation, group: this.#group, name };
  }

  #move(moving: readonly AllocationOutline[], nameFor: (allocation: AllocationOutline) => string): void {
    for (const previous of inNameOrder(moving)) {
      this.#stop.push({ allocation: previous, description: AllocDescription.Migrating });
      const canary = this.#isCanary(previous);
      this.#placeOne(canary ? previous.Name : nameFor(previous), { previous, canary });
      this.#desired.Migrate++;
    }
  }

  /** Failed allocations that wait for another attempt, unless their update comes first; returns how many there are. */
  #waitLater(wanted: readonly AllocationOutline[], replaced: readonly Replacement[]): number {
    const { rescheduleLater } = this.#sorted;
    if (rescheduleLater.size === 0) return 0;
    const stopped = new Set(this.#stop.map(({ allocation }) => allocation));
    for (const { allocation } of replaced) stopped.add(allocation);
    for (const [allocation, at] of rescheduleLater) {
      if (!stopped.has(allocation)) this.#later.set(allocation, at);
    }
    const updating = new Set(wanted);
    return [...this.#later.keys()].filter((allocation) => !updating.has(allocation)).length;
  }

  #rolled(): ReturnType<typeof rollingUpdate> {
    return this.#input.batch ? null : rollingUpdate(this.#group);
  }

  /** A roll-out begins with the first allocation of a version, or where something follows it later. */
  #newState(total: number, canaries: number, updating: boolean): DeploymentState | null {
    const strategy = this.#rolled();
    if (strategy === null || this.#deployments.current !== null || total === 0) return null;
    if (this.#sorted.versionSeen && !updating) return null;
    return newDeploymentState(strategy, total, canaries);
  }

  #isHealthy(): boolean {
    const state = this.#state;
    if (state === null) return true;
    return (
      state.HealthyAllocs >= Math.max(state.DesiredTotal, state.DesiredCanaries) &&
      (state.DesiredCanaries === 0 || state.Promoted)
    );
  }
}

export function emptyUpdates(): DesiredUpdates {
  return {
    Canary: 0,
    DestructiveUpdate: 0,
    Ignore: 0,
    InPlaceUpdate: 0,
    Migrate: 0,
    Place: 0,
    Preemptions: 0,
    Stop: 0,
  };
}
