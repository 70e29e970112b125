/** Counts of a deployment's groups, kept as its allocations are placed and report their health. */
import {
  type Allocation,
  countInDeployment,
  type Deployment,
  type DeploymentCountChange,
  type DeploymentState,
} from "@drover/plugin-sdk";
import { nanosOfRfc3339, rfc3339 } from "./time.js";

/** The rows that accounts are made of; a transaction has them. */
export interface DeploymentRows {
  /** Index of the entry being applied. */
  readonly index: number;
  deployment(id: string): Deployment | null;
  putDeployment(deployment: Deployment, previous: Deployment | null): void;
}

interface Account {
  readonly deployment: Deployment;
  changed: boolean;
}

export class DeploymentAccounts {
  private readonly open = new Map<string, Account | null>();

  constructor(private readonly txn: DeploymentRows) {}

  /** `count` new allocations with these fields in common were placed at `time` (Unix nanoseconds); `canaries` are their ids. */
  allocationsPlaced(
    row: Pick<Allocation, "DeploymentID" | "TaskGroup">,
    count: number,
    time: number,
    canaries: readonly string[],
  ): void {
    const found = this.groupOf(row);
    if (found === undefined) return;
    const { account, group } = found;
    group.PlacedAllocs += count;
    if (canaries.length > 0)
      group.PlacedCanaries = [...new Set([...(group.PlacedCanaries ?? []), ...canaries])];
    startProgress(group, time);
    account.changed = true;
  }

  allocationChanged(row: Allocation, previous: Allocation | null): void {
    const found = this.groupOf(row);
    if (found === undefined) return;
    const { account, group } = found;
    const change = countInDeployment(group, row, previous);
    if (change === null) return;
    extendProgress(group, row, change);
    account.changed = true;
  }

  flush(): void {
    for (const account of this.open.values()) {
      if (account?.changed !== true) continue;
      account.deployment.ModifyIndex = this.txn.index;
      this.txn.putDeployment(account.deployment, account.deployment);
    }
    this.open.clear();
  }

  private groupOf(
    row: Pick<Allocation, "DeploymentID" | "TaskGroup">,
  ): { readonly account: Account; readonly group: DeploymentState } | undefined {
    const account = row.DeploymentID === "" ? null : this.account(row.DeploymentID);
    const groups = account?.deployment.TaskGroups;
    if (!account || groups === undefined || !Object.hasOwn(groups, row.TaskGroup)) return undefined;
    return { account, group: groups[row.TaskGroup] as DeploymentState };
  }

  private account(id: string): Account | null {
    let account = this.open.get(id);
    if (account === undefined) {
      const deployment = this.txn.deployment(id);
      account = deployment === null ? null : { deployment, changed: false };
      this.open.set(id, account);
    }
    return account;
  }
}

/** The first placement starts the clock of the progress deadline. */
function startProgress(group: DeploymentState, time: number): void {
  if (group.ProgressDeadline === 0 || nanosOfRfc3339(group.RequireProgressBy) !== null) return;
  group.RequireProgressBy = rfc3339(time + group.ProgressDeadline);
}

/** Every healthy allocation restarts the clock of the progress deadline. */
function extendProgress(
  group: DeploymentState,
  row: Allocation,
  { placed, healthy }: DeploymentCountChange,
): void {
  if (group.ProgressDeadline === 0) return;
  const bound = nanosOfRfc3339(group.RequireProgressBy);
  if (placed && bound === null) {
    startProgress(group, row.ModifyTime);
    return;
  }
  const decided = healthy ? nanosOfRfc3339(row.DeploymentStatus?.Timestamp ?? null) : null;
  if (decided !== null && decided + group.ProgressDeadline > (bound ?? 0)) {
    group.RequireProgressBy = rfc3339(decided + group.ProgressDeadline);
  }
}
