/**
 * Deciding what has to change of a job's allocations, once they are read: no state, no placing. Milliseconds are the median of
 * the runs, a case each.
 */
import { parseArgs } from "node:util";
import { type Allocation, allocName, type Job } from "@drover/plugin-sdk";
import {
  emptyMetric,
  type NodePresence,
  reconcile,
  seededUUID,
  type UpdateKind,
} from "@drover/plugin-sdk/scheduling";
import { makeGroup, makeJob } from "@drover/plugin-sdk/testing";

const NOW = 1_800_000_000_000e6;
/** One in so many is lost, or failed. */
const SHARE = 10;

interface Case {
  readonly update: UpdateKind;
  readonly maxParallel: number;
  /** Share of the nodes that are down. */
  readonly lost?: boolean;
  readonly failed?: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  atRest: { update: "ignore", maxParallel: 1 },
  inPlace: { update: "in-place", maxParallel: 1 },
  rolling: { update: "destructive", maxParallel: 10 },
  allAtOnce: { update: "destructive", maxParallel: 0 },
  nodesLost: { update: "ignore", maxParallel: 1, lost: true },
  failures: { update: "ignore", maxParallel: 1, failed: true },
};

export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: "string", default: "5000" },
      allocs: { type: "string", default: "10000" },
      runs: { type: "string", default: "25" },
    },
  });
  const sizes = { nodes: Number(values.nodes), allocs: Number(values.allocs), runs: Number(values.runs) };
  const milliseconds: Record<string, number> = {};
  for (const [name, of] of Object.entries(CASES)) milliseconds[name] = measure(of, sizes);
  return { ...sizes, milliseconds };
}

function measure(of: Case, { nodes, allocs, runs }: { nodes: number; allocs: number; runs: number }): number {
  const group = makeGroup({ Count: allocs });
  group.Update = { ...makeJob().Update, MaxParallel: of.maxParallel };
  const job = makeJob({ TaskGroups: [group], CreateIndex: 1, Version: of.update === "ignore" ? 0 : 1 });
  const ids = Array.from({ length: nodes }, (_, i) => seededUUID("node", i));
  const allocations = Array.from({ length: allocs }, (_, i) => allocation(job, i, ids[i % nodes]!, of));
  const presence = new Map<string, NodePresence>(
    ids.map((id, i) => [id, of.lost === true && i % SHARE === 0 ? "down" : "up"]),
  );
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const begin = performance.now();
    reconcile({
      job,
      evaluationId: "evaluation",
      batch: false,
      allocations,
      deployments: [],
      newDeploymentId: "deployment",
      now: NOW,
      node: ({ NodeID }) => presence.get(NodeID) ?? "unknown",
      updateKind: () => of.update,
      followupWaits: () => false,
    });
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  return Math.round(times[runs >> 1]! * 100) / 100;
}

function allocation(job: Job, i: number, NodeID: string, of: Case): Allocation {
  return {
    AllocModifyIndex: 1,
    AllocatedResources: {
      Shared: { DiskMB: 300, Networks: null, Ports: null },
      TaskLifecycles: {},
      Tasks: {},
    },
    ClientDescription: "",
    ClientStatus: of.failed === true && i % SHARE === 0 ? "failed" : "running",
    CreateIndex: 1,
    CreateTime: NOW,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run",
    EvalID: "evaluation",
    ID: seededUUID("allocation", i),
    Job: null,
    JobCreateIndex: job.CreateIndex,
    JobID: job.ID,
    JobVersion: 0,
    Metrics: emptyMetric(),
    ModifyIndex: 1,
    ModifyTime: NOW,
    Name: allocName(job.ID, "g", i),
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID,
    NodeName: "",
    TaskGroup: "g",
    TaskStates: null,
  };
}
