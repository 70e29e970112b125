/** The counts of a deployment's groups, as its allocations are placed and report their health. */
import type { Allocation, AllocDeploymentStatus } from "./allocation.js";
import type { DeploymentState } from "./deployment.js";

/** What the change of an allocation meant for its group in the deployment that it belongs to. */
export interface DeploymentCountChange {
  /** It came into the deployment. */
  readonly placed: boolean;
  /** It became healthy. */
  readonly healthy: boolean;
}

/**
 * Counts a changed allocation in its group's part of the deployment that it belongs to, in place. Health that it brought
 * along counts nothing; health counts once it is decided there, and moves when it is decided anew. Null: nothing changed.
 */
export function countInDeployment(
  group: DeploymentState,
  row: Allocation,
  previous: Allocation | null,
): DeploymentCountChange | null {
  const placed = previous?.DeploymentID !== row.DeploymentID;
  const before = placed ? null : healthOf(previous?.DeploymentStatus);
  const after = placed ? null : healthOf(row.DeploymentStatus);
  const decided = after !== null && after !== before;
  if (!placed && !decided) return null;
  if (placed) group.PlacedAllocs += 1;
  if (decided) {
    if (before === true) group.HealthyAllocs -= 1;
    if (before === false) group.UnhealthyAllocs -= 1;
    if (after) group.HealthyAllocs += 1;
    else group.UnhealthyAllocs += 1;
  }
  if (placed && row.DeploymentStatus?.Canary === true)
    group.PlacedCanaries = [...(group.PlacedCanaries ?? []), row.ID];
  return { placed, healthy: decided && after };
}

function healthOf(status: AllocDeploymentStatus | null | undefined): boolean | null {
  return status?.Healthy ?? null;
}
