/** A service job with allocations on draining nodes: which of its allocations may leave without too many being away. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Allocation, Job, StateSnapshot } from "@drover/plugin-sdk";
import { allocIsTerminal, lookupTaskGroup } from "@drover/plugin-sdk";
import type { StateStore } from "../../state/index.js";

/** Rows that are read before the event loop has a turn. */
const SLICE = 200;

interface Member {
  readonly group: string;
  readonly name: string;
  readonly node: string;
  readonly healthy: boolean;
  readonly migrating: boolean;
}

export class DrainingJob {
  /** Allocations that have not ended and are not to end, by id. */
  readonly #members = new Map<string, Member>();

  constructor(
    readonly namespace: string,
    readonly id: string,
  ) {}

  /** Reads these of its allocations, bit by bit. */
  async load(state: StateStore, ids: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += SLICE) {
      {
        using snapshot = state.snapshot();
        for (const id of ids.slice(at, at + SLICE)) this.read(snapshot, id);
      }
      await nextTurn();
    }
  }

  /** Takes an allocation as it is now. */
  read(snapshot: StateSnapshot, id: string): void {
    const allocation = snapshot.allocation(id);
    if (allocation === null || allocIsTerminal(allocation)) this.#members.delete(id);
    else this.#members.set(id, memberOf(allocation));
  }

  /** Ids of those that may leave now; `isDraining` tells of a node whether it drains. */
  leaving(job: Job | null, isDraining: (node: string) => boolean): string[] {
    const byGroup = new Map<string, [id: string, member: Member][]>();
    for (const entry of this.#members) {
      const list = byGroup.get(entry[1].group);
      if (list === undefined) byGroup.set(entry[1].group, [entry]);
      else list.push(entry);
    }
    return [...byGroup].flatMap(([name, members]) => {
      const group = job === null || job.Stop ? undefined : lookupTaskGroup(job, name);
      const staying = members.filter(([, member]) => !member.migrating);
      const movable = staying.filter(([, member]) => isDraining(member.node));
      // One that leaves is up until it goes; another is up once it is known to be healthy.
      const up = movable.length + staying.filter(([, m]) => !isDraining(m.node) && m.healthy).length;
      const atOnce = Math.max(1, group?.Migrate?.MaxParallel ?? 1);
      const allowed = group === undefined ? movable.length : up - (group.Count - atOnce);
      return movable
        .sort(([, a], [, b]) => a.name.localeCompare(b.name, "en", { numeric: true }))
        .slice(0, Math.max(0, allowed))
        .map(([id]) => id);
    });
  }
}

function memberOf(allocation: Allocation): Member {
  return {
    group: allocation.TaskGroup,
    name: allocation.Name,
    node: allocation.NodeID,
    healthy: allocation.DeploymentStatus?.Healthy === true,
    migrating: allocation.DesiredTransition?.Migrate === true,
  };
}
