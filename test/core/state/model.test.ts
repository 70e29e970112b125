/** Random command sequences: everything derived must agree with a recount from the rows. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type Allocation,
  type AllocationOutline,
  allocIsTerminal,
  evalTerminal,
  NodeStatusBit,
} from "@drover/plugin-sdk";
import { nodeCapacity, nodeValue, sumUse } from "@drover/plugin-sdk/scheduling";
import fc from "fast-check";
import { type Command, CommandType } from "../../../core/state/index.js";
import { SharedNodeColumns } from "../../../core/state/read/index.js";
import {
  evaluations,
  type Machine,
  makeAllocation,
  makeDeployment,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  report,
  TIME,
} from "./support.js";

const uuid = (kind: number, n: number): string =>
  `${kind}0000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const pick = (kind: number, count: number): fc.Arbitrary<string> =>
  fc.nat(count - 1).map((n) => uuid(kind, n));
const [nodeId, allocId, evalId, deploymentId] = [pick(0, 4), pick(1, 8), pick(2, 5), pick(3, 2)];
const jobId = fc.constantFrom("web", "api");

const placement = fc
  .record({
    ID: allocId,
    JobID: jobId,
    NodeID: nodeId,
    EvalID: evalId,
    TaskGroup: fc.constantFrom("app", "db"),
    DeploymentID: fc.oneof(fc.constant(""), deploymentId),
    cpu: fc.integer({ min: 1, max: 500 }),
    version: fc.nat(2),
  })
  .map(({ cpu, version, ...changes }) => {
    const row = makeAllocation({ ...changes, JobVersion: version, Name: `${changes.JobID}.app[0]` });
    row.AllocatedResources.Tasks.server!.Cpu.CpuShares = cpu;
    return row;
  });

const command: fc.Arbitrary<Command> = fc.oneof(
  fc
    .record({
      ID: nodeId,
      Datacenter: fc.constantFrom("dc1", "dc2"),
      rack: fc.nat(3),
      status: fc.constantFrom("ready" as const, "down" as const),
    })
    .map(({ ID, Datacenter, rack, status }) =>
      nodeRegistration(
        makeNode({ ID, Datacenter, Status: status, Meta: rack === 0 ? null : { rack: `r${rack}` } }),
      ),
    ),
  nodeId.map(
    (id): Command => ({
      type: CommandType.NodeDeregister,
      payload: { NodeIDs: [id], Evaluations: [], Time: TIME },
    }),
  ),
  fc.tuple(nodeId, fc.constantFrom("eligible" as const, "ineligible" as const)).map(
    ([NodeID, Eligibility]): Command => ({
      type: CommandType.NodeUpdateEligibility,
      payload: { NodeID, Eligibility, Event: null, Evaluations: [], Time: TIME },
    }),
  ),
  fc
    .tuple(jobId, fc.constantFrom(50, 60, 70), fc.constantFrom("service", "system"))
    .map(([ID, Priority, Type]) =>
      registration(
        makeJob({
          ID,
          Priority,
          Type,
          TaskGroups: ["app", "db"].map((Name) => ({ ...makeJob().TaskGroups[0]!, Name })),
        }),
      ),
    ),
  fc.tuple(jobId, fc.boolean()).map(
    ([JobID, Purge]): Command => ({
      type: CommandType.JobDeregister,
      payload: { Namespace: "default", JobID, Purge, Evaluation: null, Time: TIME },
    }),
  ),
  fc
    .tuple(
      evalId,
      jobId,
      fc.constantFrom("pending" as const, "complete" as const, "blocked" as const),
      fc.nat(3),
    )
    .map(([ID, JobID, Status, queued]) =>
      evaluations(makeEvaluation({ ID, JobID, Status, QueuedAllocations: { app: queued } })),
    ),
  fc
    .record({
      placed: fc.array(placement, { maxLength: 4 }),
      stopped: fc.array(allocId, { maxLength: 2 }),
      lost: fc.boolean(),
      deployment: fc.option(deploymentId),
    })
    .map(({ placed, stopped, lost, deployment }) =>
      plan({
        Placed: placed,
        Stopped: stopped.map((ID) => ({
          ID,
          DesiredStatus: "stop" as const,
          DesiredDescription: "",
          ...(lost ? { ClientStatus: "lost" as const } : {}),
        })),
        Deployment: deployment === null ? null : makeDeployment({ ID: deployment }),
      }),
    ),
  fc
    .tuple(
      allocId,
      nodeId,
      fc.constantFrom("running" as const, "complete" as const, "failed" as const),
      fc.constantFrom(null, true, false),
    )
    .map(([ID, NodeID, ClientStatus, Healthy]) =>
      report(makeAllocation({ ID, NodeID }), {
        ClientStatus,
        DeploymentStatus:
          Healthy === null
            ? null
            : { Canary: false, Healthy, ModifyIndex: 0, Timestamp: "2026-11-23T15:00:00Z" },
      }),
    ),
  fc.tuple(fc.array(evalId, { maxLength: 2 }), fc.array(allocId, { maxLength: 2 })).map(
    ([EvalIDs, AllocIDs]): Command => ({
      type: CommandType.EvaluationDelete,
      payload: { EvalIDs, AllocIDs },
    }),
  ),
);

const sorted = (rows: Iterable<{ readonly ID: string }>): string[] => [...rows].map((row) => row.ID).sort();

/** Fields of an outline. */
const OUTLINE = [
  "AllocatedResources",
  "ClientStatus",
  "CreateIndex",
  "DeploymentID",
  "DesiredStatus",
  "DesiredTransition",
  "ID",
  "JobCreateIndex",
  "JobID",
  "JobVersion",
  "Name",
  "Namespace",
  "NextAllocation",
  "NodeID",
  "TaskGroup",
] as const satisfies readonly (keyof AllocationOutline)[];

/** Outlines say what the rows say. */
function checkOutlines(outlines: readonly AllocationOutline[], rows: readonly Allocation[]): void {
  assert.equal(outlines.length, rows.length);
  const byId = new Map(rows.map((row) => [row.ID, row]));
  for (const outline of outlines) {
    const row = byId.get(outline.ID);
    assert.ok(row !== undefined, `outline of ${outline.ID} has a row`);
    for (const field of OUTLINE) assert.deepEqual(outline[field], row[field], `${field} of ${outline.ID}`);
  }
}

/** Secondary indexes hold exactly the rows that they should. */
function checkIndexes(machine: Machine): void {
  const s = machine.store.view();
  const allocations = [...s.allocations()];
  for (let n = 0; n < 5; n += 1) {
    const where = (field: keyof Allocation, id: string): string[] =>
      sorted(allocations.filter((a) => a[field] === id));
    assert.deepEqual(sorted(s.allocationsByNode(uuid(0, n))), where("NodeID", uuid(0, n)));
    assert.deepEqual(sorted(s.allocationsByEvaluation(uuid(2, n))), where("EvalID", uuid(2, n)));
    assert.deepEqual(sorted(s.allocationsByDeployment(uuid(3, n))), where("DeploymentID", uuid(3, n)));
  }
  for (const id of ["web", "api"]) {
    assert.deepEqual(
      sorted(s.allocationsByJob("default", id)),
      sorted(allocations.filter((a) => a.JobID === id)),
    );
    checkOutlines(s.allocationOutlines("default", id), s.allocationsByJob("default", id));
    const evals = [...s.evaluations()].filter((e) => e.JobID === id);
    assert.deepEqual(sorted(s.evaluationsByJob("default", id)), sorted(evals));
    assert.deepEqual(
      sorted(s.deploymentsByJob("default", id)),
      sorted([...s.deployments()].filter((d) => d.JobID === id)),
    );
    const references = s.jobReferences("default", id);
    const own = allocations.filter((a) => a.JobID === id);
    assert.deepEqual(
      references === null
        ? [0, 0, 0, 0]
        : [
            references.Allocations,
            references.LiveAllocations,
            references.Evaluations,
            references.LiveEvaluations,
          ],
      [
        own.length,
        own.filter((a) => !allocIsTerminal(a)).length,
        evals.length,
        evals.filter((e) => !evalTerminal(e)).length,
      ],
    );
    for (const allocation of own)
      assert.notEqual(s.allocationJob(allocation), null, "its job can always be joined");
  }
  assert.deepEqual(sorted(s.systemJobs()), sorted([...s.jobs()].filter((job) => job.Type === "system")));
}

/** Every allocation of the present job that was not collected is in one bucket of its group. */
function checkSummaries(machine: Machine, collected: ReadonlyMap<string, number>): void {
  const s = machine.store.view();
  for (const job of s.jobs()) {
    const summary = s.jobSummary(job.Namespace, job.ID);
    const own = s.allocationsByJob(job.Namespace, job.ID).filter((a) => a.JobCreateIndex === job.CreateIndex);
    for (const group of job.TaskGroups) {
      const counts = summary?.Summary[group.Name];
      assert.ok(counts !== undefined);
      const having = (status: string): number =>
        own.filter((a) => a.TaskGroup === group.Name && a.ClientStatus === status).length;
      if ((collected.get(job.ID) ?? -1) >= job.CreateIndex) continue;
      assert.deepEqual(
        [counts.Starting, counts.Running, counts.Complete, counts.Failed, counts.Lost],
        ["pending", "running", "complete", "failed", "lost"].map(having),
      );
    }
  }
}

function checkColumns(machine: Machine, columns: SharedNodeColumns): void {
  const s = machine.store.view();
  const nodes = [...s.nodes()];
  let inUse = 0;
  for (let row = 0; row < columns.length; row += 1)
    if ((columns.status[row]! & NodeStatusBit.InUse) !== 0) inUse += 1;
  assert.equal(inUse, nodes.length);
  for (const node of nodes) {
    const row = columns.row(node.ID);
    assert.ok(row !== undefined && columns.nodeId(row) === node.ID);
    const [total, used] = [nodeCapacity(node), sumUse(s.allocationsByNode(node.ID))];
    assert.deepEqual(
      [
        columns.cpuTotal[row],
        columns.cpuUsed[row],
        columns.memoryTotal[row],
        columns.memoryUsed[row],
        columns.diskTotal[row],
        columns.diskUsed[row],
      ],
      [total.cpu, used.cpu, total.memory, used.memory, total.disk, used.disk],
    );
    const bits = columns.status[row]!;
    assert.equal((bits & NodeStatusBit.Ready) !== 0, node.Status === "ready");
    assert.equal((bits & NodeStatusBit.Eligible) !== 0, node.SchedulingEligibility === "eligible");
    for (const key of [
      "node.datacenter",
      "node.computed_class",
      "node.unique.id",
      "meta.rack",
      "attr.kernel.name",
      "attr.none",
    ]) {
      assert.equal(
        columns.values(key)[columns.codes(key)[row]!],
        nodeValue(node, key),
        `${key} of ${node.ID}`,
      );
    }
  }
}

describe("after any sequence of commands (property)", () => {
  it("indexes, summaries and columns agree with the rows, also after opening again", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(command, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 25 }),
        async (batches) => {
          let machine = openMachine();
          try {
            let columns = new SharedNodeColumns(machine.store.columns);
            /** Index of the last collection of a job's allocations, after which its counts are history. */
            const collected = new Map<string, number>();
            for (const batch of batches) {
              machine.apply(...batch);
              if (batch.some((one) => one.type === CommandType.EvaluationDelete)) {
                for (const id of ["web", "api"]) collected.set(id, machine.store.index());
              }
            }
            checkIndexes(machine);
            checkSummaries(machine, collected);
            checkColumns(machine, columns);
            machine = await machine.reopen();
            columns = new SharedNodeColumns(machine.store.columns);
            checkIndexes(machine);
            checkColumns(machine, columns);
          } finally {
            await machine.close();
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("one batch gives the same rows as the commands one by one", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 40 }), async (commands) => {
        const [together, alone] = [openMachine(), openMachine()];
        try {
          together.apply(...commands);
          for (const one of commands) alone.apply(one);
          const a = together.store.view();
          const b = alone.store.view();
          const all = (s: typeof a): unknown => [
            [...s.jobs()],
            [...s.nodes()],
            [...s.allocations()],
            [...s.evaluations()],
            [...s.deployments()],
            ["web", "api"].map((id) => [
              s.jobSummary("default", id),
              s.jobVersions("default", id),
              s.jobReferences("default", id),
            ]),
            s.tableIndexes(),
          ];
          assert.deepEqual(all(a), all(b));
        } finally {
          await together.close();
          await alone.close();
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("the columns of many registrations", () => {
  it("stay readable while their journal is rewritten, and keep codes within bounds", async () => {
    const machine = openMachine();
    try {
      const columns = new SharedNodeColumns(machine.store.columns);
      const ids = Array.from({ length: 20 }, (_, n) => uuid(0, n));
      for (let round = 0; round < 60; round += 1) {
        const Attributes = (n: number): Record<string, string> => ({
          "unique.free": `${round}-${n}-`.padEnd(2_000, "x"),
          even: String(round % 2),
        });
        machine.apply(...ids.map((ID, n) => nodeRegistration(makeNode({ ID, Attributes: Attributes(n) }))));
        for (const [n, ID] of ids.entries()) {
          const row = columns.row(ID)!;
          assert.equal(
            columns.values("attr.unique.free")[columns.codes("attr.unique.free")[row]!],
            Attributes(n)["unique.free"],
          );
          assert.equal(columns.values("attr.even")[columns.codes("attr.even")[row]!], String(round % 2));
        }
      }
      assert.ok(
        columns.values("attr.unique.free").length < 1_000,
        "codes of values that are gone are given again",
      );
      assert.ok(machine.store.columns.journal!.byteLength < 3 * 1024 * 1024);
      const version = columns.version;
      machine.apply(nodeRegistration(makeNode()));
      assert.ok(columns.version > version);
    } finally {
      await machine.close();
    }
  });
});
