/** The reference as a whole: which nodes may take an allocation, and how each of them scores. */
import type { Allocation, Job, Node, SchedulerConfiguration, TaskGroup } from "@drover/plugin-sdk";
import { canHost, isDistinct, isLookedAt } from "./feasibility.js";
import { hasRoom } from "./room.js";
import { type Score, scoreOf } from "./score.js";

/** The cluster as the next placement finds it. */
export interface World {
  readonly nodes: readonly Node[];
  /** Those of the state less those that the plan stops, and those that it places. */
  readonly allocations: readonly Allocation[];
  readonly configuration: SchedulerConfiguration;
}

export interface Verdict {
  readonly node: Node;
  /** Empty nodes of this kind could take the group. */
  readonly hosts: boolean;
  readonly distinct: boolean;
  readonly room: boolean;
  /** All three. */
  readonly open: boolean;
  readonly score: Score;
}

/** Judges every node that is looked at for one more allocation of the group. */
export function judge(world: World, job: Job, group: TaskGroup, penalty: ReadonlySet<string>): Verdict[] {
  const { nodes, allocations, configuration } = world;
  return nodes
    .filter((node) => isLookedAt(node, job))
    .map((node) => {
      const here = allocations.filter((one) => one.NodeID === node.ID);
      const hosts = canHost(node, job, group);
      const distinct = isDistinct(node, job, group, nodes, allocations);
      const room = hosts && hasRoom(node, here, group);
      const penalised = penalty.has(node.ID);
      const score = scoreOf({ node, nodes, allocations, job, group, configuration, penalised });
      return { node, hosts, distinct, room, open: hosts && distinct && room, score };
    });
}
