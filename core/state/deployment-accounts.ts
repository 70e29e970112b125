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

export class DeploymentAccounts {
  private readonly open = new Map<string, { readonly deployment: Deployment; changed: boolean } | null>();

  constructor(private readonly txn: DeploymentRows) {}

  allocationChanged(row: Allocation, previous: Allocation | null): void {
    if (row.DeploymentID === "") return;
    const account = this.account(row.DeploymentID);
    const groups = account?.deployment.TaskGroups;
    if (!account || groups === undefined || !Object.hasOwn(groups, row.TaskGroup)) return;
    const group = groups[row.TaskGroup] as DeploymentState;
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

  private account(id: string): { readonly deployment: Deployment; changed: boolean } | null {
    let account = this.open.get(id);
    if (account === undefined) {
      const deployment = this.txn.deployment(id);
      account = deployment === null ? null : { deployment, changed: false };
      this.open.set(id, account);
    }
    return account;
  }
}

/** The first placement starts the clock of the progress deadline, every healthy allocation restarts it. */
function extendProgress(
  group: DeploymentState,
  row: Allocation,
  { placed, healthy }: DeploymentCountChange,
): void {
  if (group.ProgressDeadline === 0) return;
  const bound = nanosOfRfc3339(group.RequireProgressBy);
  if (placed && bound === null) {
    group.RequireProgressBy = rfc3339(row.ModifyTime + group.ProgressDeadline);
    return;
  }
  const decided = healthy ? nanosOfRfc3339(row.DeploymentStatus?.Timestamp ?? null) : null;
  if (decided !== null && decided + group.ProgressDeadline > (bound ?? 0)) {
    group.RequireProgressBy = rfc3339(decided + group.ProgressDeadline);
  }
}
