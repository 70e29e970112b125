/** What agents of paper nodes report of the allocations they were given, as a test decides. */
import type { Allocation, AllocationUpdate, Deployment, JobRegistration } from "@drover/plugin-sdk";
import type { BenchServer } from "./bench-server.js";

export type Fate = "healthy" | "unhealthy" | "failed" | "silent";

/** Reports `fate` of every allocation that is new since the last call, and the end of those that are to stop. */
export class PaperAgents {
  readonly #told = new Set<string>();
  /** Decides what becomes of a new allocation. */
  fate: (allocation: Allocation) => Fate = () => "healthy";

  constructor(private readonly bench: BenchServer) {}

  async act(job: string): Promise<void> {
    const updates: AllocationUpdate[] = [];
    {
      using snapshot = this.bench.state.snapshot();
      for (const row of snapshot.allocationsByJob("default", job)) {
        if (row.DesiredStatus !== "run" && ["pending", "running"].includes(row.ClientStatus))
          updates.push(updateOf(row, "complete", null));
        // One that comes into another deployment is judged anew.
        else if (row.DesiredStatus === "run" && !this.#told.has(row.ID + row.DeploymentID)) {
          this.#told.add(row.ID + row.DeploymentID);
          const fate = this.fate(row);
          if (fate === "healthy") updates.push(updateOf(row, "running", true));
          else if (fate === "unhealthy") updates.push(updateOf(row, "running", false));
          else if (fate === "failed") updates.push(updateOf(row, "failed", false));
          else updates.push(updateOf(row, "running", null));
        }
      }
    }
    for (const update of updates)
      await this.bench.handler.handle(update.NodeID, "allocation.update", { updates: [update] });
  }
}

export function updateOf(
  row: Allocation,
  ClientStatus: Allocation["ClientStatus"],
  healthy: boolean | null,
): AllocationUpdate {
  return {
    ID: row.ID,
    NodeID: row.NodeID,
    ClientStatus,
    ClientDescription: "",
    TaskStates: {},
    DeploymentStatus:
      healthy === null
        ? null
        : { Canary: false, Healthy: healthy, ModifyIndex: 0, Timestamp: new Date().toISOString() },
    NetworkStatus: null,
  };
}

export function latestDeployment(bench: BenchServer, job: string): Deployment | null {
  using snapshot = bench.state.snapshot();
  return snapshot.latestDeployment("default", job);
}

export function registration(job: object): JobRegistration {
  return {
    job,
    namespace: "default",
    region: "global",
    enforceIndex: false,
    jobModifyIndex: 0,
    preserveCounts: false,
  };
}

/** A service of one group `g`. `env` makes one version differ from another. */
export function service(
  id: string,
  count: number,
  options: { readonly env?: string; readonly update?: object; readonly group?: object } = {},
): object {
  return {
    ID: id,
    Name: id,
    Type: "service",
    Datacenters: ["dc1"],
    TaskGroups: [
      {
        Name: "g",
        Count: count,
        Update: { MaxParallel: 1, MinHealthyTime: 1, HealthyDeadline: 1e9, ...options.update },
        ReschedulePolicy: { Delay: 5e9, DelayFunction: "constant", Unlimited: true },
        ...options.group,
        Tasks: [
          {
            Name: "t",
            Driver: "raw_exec",
            Config: { command: "/bin/true" },
            KillTimeout: 1e8,
            Env: { VERSION: options.env ?? "0" },
            Resources: { CPU: 100, MemoryMB: 32 },
          },
        ],
      },
    ],
  };
}
