/** What the counts of a deployment say of how it goes. */
import type { Deployment, DeploymentState, StateSnapshot } from "@drover/plugin-sdk";
import { deploymentHasAutoPromote } from "@drover/plugin-sdk";

/** Whether the group still waits for allocations to become healthy; one whose canaries wait for promotion does not. */
function waits(group: DeploymentState): boolean {
  const wanted = group.DesiredCanaries > 0 && !group.Promoted ? group.DesiredCanaries : group.DesiredTotal;
  return group.HealthyAllocs < wanted;
}

function groupsOf(deployment: Deployment): DeploymentState[] {
  return Object.values(deployment.TaskGroups);
}

/** RFC 3339: the first of the deadlines of groups that still wait; null for none. */
export function progressDeadline(deployment: Deployment): string | null {
  let first: string | null = null;
  for (const group of groupsOf(deployment)) {
    const by = group.RequireProgressBy;
    if (group.ProgressDeadline === 0 || by === null || !waits(group)) continue;
    if (first === null || Date.parse(by) < Date.parse(first)) first = by;
  }
  return first;
}

/** Groups that missed their deadline, once `progressDeadline` is due. */
export function lateGroups(deployment: Deployment): DeploymentState[] {
  const deadline = progressDeadline(deployment);
  if (deadline === null) return [];
  return groupsOf(deployment).filter(
    (group) =>
      group.ProgressDeadline !== 0 &&
      group.RequireProgressBy !== null &&
      Date.parse(group.RequireProgressBy) <= Date.parse(deadline) &&
      waits(group),
  );
}

/** Groups without a deadline, where the first unhealthy allocation is one too many. */
export function brokenGroups(deployment: Deployment): DeploymentState[] {
  return groupsOf(deployment).filter((group) => group.ProgressDeadline === 0 && group.UnhealthyAllocs > 0);
}

export function healthyCount(deployment: Deployment): number {
  return groupsOf(deployment).reduce((sum, group) => sum + group.HealthyAllocs, 0);
}

/** Whether it promotes itself and every canary of every group is healthy. */
export function canBePromoted(snapshot: StateSnapshot, deployment: Deployment): boolean {
  if (!deploymentHasAutoPromote(deployment)) return false;
  return groupsOf(deployment)
    .filter((group) => group.DesiredCanaries > 0 && !group.Promoted)
    .every((group) => {
      const canaries = group.PlacedCanaries ?? [];
      const healthy = canaries.filter(
        (id) => snapshot.allocation(id)?.DeploymentStatus?.Healthy === true,
      ).length;
      return healthy >= group.DesiredCanaries;
    });
}
