import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import { CommandRefused, CommandType, type JobRegistered } from "../../../core/state/index.js";
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

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

function read<T>(use: (snapshot: ReturnType<Machine["store"]["view"]>) => T): T {
  const snapshot = machine.store.view();
  try {
    return use(snapshot);
  } finally {
    snapshot.close();
  }
}

function refusal(result: unknown): string {
  assert.ok(result instanceof CommandRefused, `expected a refusal, got ${String(result)}`);
  return result.message;
}

describe("nodes", () => {
  it("registers with an event and a computed class, and without the secret", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    const row = read((s) => s.node(node.ID));
    assert.equal(row?.SecretID, "");
    assert.match(row?.ComputedClass ?? "", /^v1:\d+$/);
    assert.deepEqual(row?.Events, [
      {
        CreateIndex: 0,
        Details: null,
        Message: "Node registered",
        Subsystem: "Cluster",
        Timestamp: "2026-11-23T14:48:44Z",
      },
    ]);
    assert.deepEqual([row?.CreateIndex, row?.ModifyIndex, row?.StatusUpdatedAt], [1, 1, 1_795_445_324]);
  });

  it("gives equal nodes one class and unique attributes no say in it", () => {
    const [a, b, c] = [
      makeNode({ Attributes: { x: "1", "unique.hostname": "a" } }),
      makeNode({ Attributes: { "unique.hostname": "b", x: "1" } }),
      makeNode({ Attributes: { x: "2" } }),
    ];
    machine.apply(...[a, b, c].map((node) => nodeRegistration(node)));
    const [first, second, third] = read((s) => [a, b, c].map((node) => s.node(node.ID)?.ComputedClass));
    assert.equal(first, second);
    assert.notEqual(first, third);
  });

  it("keeps eligibility and events when it registers again, and tells that it came back", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    machine.run(CommandType.NodeUpdateEligibility, {
      NodeID: node.ID,
      Eligibility: "ineligible",
      Event: null,
      Evaluations: [],
      Time: TIME,
    });
    const missed = {
      CreateIndex: 0,
      Details: null,
      Message: "Node heartbeat missed",
      Subsystem: "Heartbeat" as const,
      Timestamp: "",
    };
    machine.run(CommandType.NodeUpdateStatus, {
      NodeID: node.ID,
      Status: "down",
      Description: "",
      Event: missed,
      Evaluations: [],
      Time: TIME,
    });
    machine.apply(nodeRegistration(node, TIME + 5e9));
    const row = read((s) => s.node(node.ID));
    assert.equal(row?.SchedulingEligibility, "ineligible");
    assert.equal(row?.StatusUpdatedAt, 1_795_445_329);
    assert.deepEqual(
      row?.Events.map((event) => [event.CreateIndex, event.Message]),
      [
        [0, "Node registered"],
        [3, "Node heartbeat missed"],
        [4, "Node re-registered"],
      ],
    );
    assert.equal(row?.CreateIndex, 1);
  });

  it("keeps the ten newest events", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    for (let i = 0; i < 12; i += 1) {
      const event = {
        CreateIndex: 0,
        Details: null,
        Message: `m${i}`,
        Subsystem: "Cluster" as const,
        Timestamp: "",
      };
      machine.run(CommandType.NodeUpdateStatus, {
        NodeID: node.ID,
        Status: "ready",
        Description: "",
        Event: event,
        Evaluations: [],
        Time: TIME,
      });
    }
    const messages = read((s) => s.node(node.ID))?.Events.map((event) => event.Message);
    assert.equal(messages?.length, 10);
    assert.equal(messages?.at(0), "m2");
    assert.equal(messages?.at(-1), "m11");
  });

  it("refuses commands about unknown nodes, without writing the evaluations that came along", () => {
    const evaluation = makeEvaluation();
    const id = randomUUID();
    const result = machine.run(CommandType.NodeUpdateStatus, {
      NodeID: id,
      Status: "down",
      Description: "",
      Event: null,
      Evaluations: [evaluation],
      Time: TIME,
    });
    assert.equal(refusal(result), `node not found: ${id}`);
    assert.equal(
      read((s) => s.evaluation(evaluation.ID)),
      null,
    );
    assert.equal(machine.store.index(), 1);
  });

  it("deregisters", () => {
    const node = makeNode();
    machine.apply(nodeRegistration(node));
    machine.run(CommandType.NodeDeregister, { NodeIDs: [node.ID], Evaluations: [], Time: TIME });
    assert.equal(
      read((s) => s.node(node.ID)),
      null,
    );
    assert.equal(
      read((s) => s.nodeCount()),
      0,
    );
  });
});

describe("jobs", () => {
  it("counts versions up, and keeps version and indexes of an unchanged specification", () => {
    machine.apply(registration(makeJob()));
    machine.apply(registration(makeJob({ SubmitTime: 5 })));
    assert.deepEqual(
      read((s) => s.job("default", "web")?.Version),
      0,
    );
    machine.apply(registration(makeJob({ Priority: 70 })));
    const job = read((s) => s.job("default", "web"));
    assert.deepEqual([job?.Version, job?.CreateIndex, job?.JobModifyIndex, job?.ModifyIndex], [1, 1, 3, 3]);
    assert.deepEqual(
      read((s) => s.jobVersions("default", "web").map((version) => version.Version)),
      [1, 0],
    );
  });

  it("answers with the index that the job was last specified at", () => {
    machine.apply(registration(makeJob()));
    const [same] = machine.apply(registration(makeJob()));
    assert.equal((same as JobRegistered).JobModifyIndex, 1);
  });

  it("stores no token of the submitter", () => {
    machine.apply(registration(makeJob({ VaultToken: "s.1", ConsulToken: "c.1" })));
    const job = read((s) => s.job("default", "web"));
    assert.deepEqual([job?.VaultToken, job?.ConsulToken], ["", ""]);
  });

  it("keeps the six newest versions and the newest stable one", () => {
    machine.apply(registration(makeJob()));
    const deployment = makeDeployment();
    machine.apply(
      plan({
        Deployment: deployment,
        DeploymentUpdates: [{ DeploymentID: deployment.ID, Status: "successful", StatusDescription: "" }],
      }),
    );
    for (let priority = 51; priority < 60; priority += 1)
      machine.apply(registration(makeJob({ Priority: priority })));
    assert.deepEqual(
      read((s) => s.jobVersions("default", "web").map((job) => [job.Version, job.Stable])),
      [
        [9, false],
        [8, false],
        [7, false],
        [6, false],
        [5, false],
        [4, false],
        [0, true],
      ],
    );
    assert.equal(
      read((s) => s.jobVersion("default", "web", 1)),
      null,
    );
  });

  it("enforces the job modify index with Nomad's texts", () => {
    const enforce = (JobModifyIndex: number): unknown =>
      machine.run(CommandType.JobRegister, {
        Job: makeJob({ Priority: 60 }),
        Evaluation: null,
        EnforceIndex: true,
        JobModifyIndex,
        Time: TIME,
      });
    assert.equal(refusal(enforce(7)), "Enforcing job modify index 7: job does not exist");
    assert.ok(!(enforce(0) instanceof Error));
    assert.equal(refusal(enforce(0)), "Enforcing job modify index 0: job already exists");
    assert.equal(
      refusal(enforce(1)),
      "Enforcing job modify index 1: job exists with conflicting job modify index: 2",
    );
  });

  it("derives the status from evaluations and allocations, and moves only ModifyIndex with it", () => {
    const evaluation = makeEvaluation();
    machine.apply(registration(makeJob(), evaluation));
    const status = (): unknown => {
      const job = read((s) => s.job("default", "web"));
      return [job?.Status, job?.ModifyIndex, job?.JobModifyIndex];
    };
    assert.deepEqual(status(), ["pending", 1, 1]);
    const allocation = makeAllocation({ EvalID: evaluation.ID });
    machine.apply(plan({ EvalID: evaluation.ID, Placed: [allocation] }));
    assert.deepEqual(status(), ["running", 2, 1]);
    machine.apply(evaluations({ ...evaluation, Status: "complete", QueuedAllocations: { app: 0 } }));
    assert.deepEqual(status(), ["running", 2, 1]);
    machine.apply(report(allocation, { ClientStatus: "complete" }));
    assert.deepEqual(status(), ["dead", 4, 1]);
  });

  it("leaves system, periodic and parameterized jobs running until they are stopped", () => {
    const periodic = {
      Enabled: true,
      ProhibitOverlap: false,
      Spec: "* * * * *",
      SpecType: "cron",
      TimeZone: "UTC",
    };
    machine.apply(
      registration(makeJob({ ID: "sys", Type: "system" })),
      registration(makeJob({ ID: "cron", Type: "batch", Periodic: periodic })),
    );
    const statuses = (): unknown => read((s) => [...s.jobs()].map((job) => [job.ID, job.Status]));
    assert.deepEqual(statuses(), [
      ["cron", "running"],
      ["sys", "running"],
    ]);
    for (const JobID of ["sys", "cron"]) {
      machine.run(CommandType.JobDeregister, {
        Namespace: "default",
        JobID,
        Purge: false,
        Evaluation: null,
        Time: TIME,
      });
    }
    assert.deepEqual(statuses(), [
      ["cron", "dead"],
      ["sys", "dead"],
    ]);
    assert.deepEqual(
      read((s) => s.systemJobs().map((job) => job.ID)),
      ["sys"],
    );
  });

  it("counts children in the parent's summary as their status changes", () => {
    const parameterized = { MetaOptional: null, MetaRequired: null, Payload: "optional" as const };
    machine.apply(registration(makeJob({ ID: "render", Type: "batch", ParameterizedJob: parameterized })));
    const child = makeJob({ ID: "render/dispatch-1", ParentID: "render", Type: "batch", Dispatched: true });
    const evaluation = makeEvaluation({ JobID: child.ID });
    machine.apply(registration(child, evaluation));
    const children = (): unknown => read((s) => s.jobSummary("default", "render")?.Children);
    assert.deepEqual(children(), { Dead: 0, Pending: 1, Running: 0 });
    const allocation = makeAllocation({ JobID: child.ID, Name: `${child.ID}.app[0]` });
    machine.apply(plan({ Placed: [allocation] }));
    assert.deepEqual(children(), { Dead: 0, Pending: 0, Running: 1 });
    machine.apply(
      evaluations({ ...evaluation, Status: "complete" }),
      report(allocation, { ClientStatus: "complete" }),
    );
    assert.deepEqual(children(), { Dead: 1, Pending: 0, Running: 0 });
    assert.deepEqual(
      read((s) => s.jobsByParent("default", "render").map((job) => job.ID)),
      [child.ID],
    );
  });

  it("stops with a new version, and forgets a purged job but not what its allocations run", () => {
    machine.apply(registration(makeJob()));
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    const deregister = (Purge: boolean): unknown =>
      machine.run(CommandType.JobDeregister, {
        Namespace: "default",
        JobID: "web",
        Purge,
        Evaluation: null,
        Time: TIME,
      });
    deregister(false);
    const stopped = read((s) => s.job("default", "web"));
    assert.deepEqual([stopped?.Stop, stopped?.Version, stopped?.JobModifyIndex], [true, 1, 3]);
    deregister(true);
    assert.equal(
      read((s) => s.job("default", "web")),
      null,
    );
    assert.equal(
      read((s) => s.jobSummary("default", "web")),
      null,
    );
    assert.deepEqual(
      read((s) => s.jobVersions("default", "web")),
      [],
    );
    machine.apply(registration(makeJob({ Priority: 90 })));
    assert.equal(
      read((s) => s.allocationJob(s.allocation(allocation.ID)!)?.Priority),
      50,
    );
    assert.equal(
      read((s) => s.jobSummary("default", "web")?.Summary.app?.Starting),
      0,
    );
    machine.run(CommandType.EvaluationDelete, { EvalIDs: [], AllocIDs: [allocation.ID] });
    assert.equal(
      read((s) => s.versionsOf("default", "web", 1).length),
      0,
    );
  });

  it("does not mind deregistering a job that does not exist", () => {
    const evaluation = makeEvaluation({ JobID: "nope" });
    machine.run(CommandType.JobDeregister, {
      Namespace: "default",
      JobID: "nope",
      Purge: false,
      Evaluation: evaluation,
      Time: TIME,
    });
    assert.equal(
      read((s) => s.evaluation(evaluation.ID)?.JobModifyIndex),
      1,
    );
  });

  it("refuses ids that can't be keys and leaves no trace of the entry, while the batch's others are applied", () => {
    const long = "x".repeat(300);
    const good = makeJob({ ID: "good" });
    const results = machine.apply(
      registration(makeJob({ ID: long })),
      registration(good),
      registration(makeJob({ ID: "a\0b" })),
    );
    assert.deepEqual(
      results.map((result) => result instanceof Error),
      [true, false, true],
    );
    assert.deepEqual(
      read((s) => [...s.jobs()].map((job) => job.ID)),
      ["good"],
    );
    assert.equal(machine.store.index(), 3);
  });
});

describe("evaluations", () => {
  it("keep create index and time, and set what is queued in the summary", () => {
    const evaluation = makeEvaluation({ CreateTime: 17 });
    machine.apply(registration(makeJob(), evaluation));
    machine.apply(
      evaluations({
        ...evaluation,
        CreateTime: 99,
        Status: "complete",
        QueuedAllocations: { app: 2, gone: 1 },
      }),
    );
    const row = read((s) => s.evaluation(evaluation.ID));
    assert.deepEqual(
      [row?.CreateIndex, row?.ModifyIndex, row?.CreateTime, row?.ModifyTime],
      [1, 2, 17, TIME],
    );
    const summary = read((s) => s.jobSummary("default", "web"));
    assert.deepEqual([summary?.Summary.app?.Queued, summary?.ModifyIndex, summary?.CreateIndex], [2, 2, 1]);
    assert.deepEqual(Object.keys(summary?.Summary ?? {}), ["app"]);
  });

  it("carries only the optional fields that were given", () => {
    const evaluation = makeEvaluation();
    machine.apply(evaluations(evaluation));
    assert.deepEqual(
      Object.keys(read((s) => s.evaluation(evaluation.ID)) ?? {}).sort(),
      Object.keys(evaluation).sort(),
    );
  });

  it("of a job that is gone make it dead when they are collected, not pending", () => {
    const evaluation = makeEvaluation({ Status: "complete" });
    machine.apply(registration(makeJob(), evaluation));
    machine.run(CommandType.EvaluationDelete, {
      EvalIDs: [evaluation.ID, randomUUID()],
      AllocIDs: [randomUUID()],
    });
    assert.equal(
      read((s) => s.job("default", "web")?.Status),
      "dead",
    );
    assert.deepEqual(
      read((s) => s.evaluationsByJob("default", "web")),
      [],
    );
  });
});

describe("plans", () => {
  beforeEach(() => void machine.apply(registration(makeJob())));

  it("place with indexes and times of the command, and are found under every index", () => {
    const deployment = makeDeployment();
    const allocation = makeAllocation({ DeploymentID: deployment.ID });
    machine.apply(plan({ Deployment: deployment, Placed: [allocation] }));
    const row = read((s) => s.allocation(allocation.ID));
    assert.deepEqual(
      [row?.CreateIndex, row?.ModifyIndex, row?.AllocModifyIndex, row?.CreateTime, row?.ModifyTime, row?.Job],
      [2, 2, 2, TIME, TIME, null],
    );
    read((s) => {
      for (const found of [
        s.allocationsByNode(allocation.NodeID),
        s.allocationsByJob("default", "web"),
        s.allocationsByEvaluation(allocation.EvalID),
        s.allocationsByDeployment(deployment.ID),
        [...s.allocations({ prefix: allocation.ID.slice(0, 7) })],
      ]) {
        assert.deepEqual(found, [row]);
      }
    });
    const group = read((s) => s.deployment(deployment.ID)?.TaskGroups.app);
    assert.equal(group?.PlacedAllocs, 1);
    assert.equal(group?.RequireProgressBy, "2026-11-23T14:58:44Z");
  });

  it("refuses an update in place to a version that nobody registered, and leaves the row as it was", () => {
    machine.apply(nodeRegistration(makeNode()), registration(makeJob()));
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    const [result] = machine.apply(plan({ Placed: [{ ...allocation, JobVersion: 1 }] }));
    assert.match(refusal(result), /version 1 of job "web" in namespace "default" is not known/);
    assert.equal(
      read((s) => s.allocation(allocation.ID)?.JobVersion),
      0,
    );
  });

  it("update a known allocation in place, keeping what its node reported", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    const states = { server: { State: "running", Events: [] } } as unknown as Record<string, never>;
    machine.apply(report(allocation, { ClientDescription: "Tasks are running", TaskStates: states }));
    machine.apply(registration(makeJob({ Priority: 60 })));
    machine.apply(
      plan({ Placed: [{ ...allocation, JobVersion: 1, EvalID: randomUUID() }], Time: TIME + 9e6 }),
    );
    const row = read((s) => s.allocation(allocation.ID));
    assert.deepEqual(
      [
        row?.CreateIndex,
        row?.CreateTime,
        row?.AllocModifyIndex,
        row?.ClientStatus,
        row?.ClientDescription,
        row?.JobVersion,
      ],
      [2, TIME, 5, "running", "Tasks are running", 1],
    );
    assert.deepEqual(row?.TaskStates, states);
    assert.deepEqual(
      read((s) => s.allocationsByEvaluation(allocation.EvalID)),
      [],
    );
    assert.equal(read((s) => s.allocationJob(row!))?.Priority, 60);
  });

  it("link a replacement both ways", () => {
    const old = makeAllocation();
    machine.apply(plan({ Placed: [old] }));
    const next = makeAllocation({ PreviousAllocation: old.ID });
    machine.apply(
      plan({
        Placed: [next],
        Stopped: [
          { ID: old.ID, DesiredStatus: "stop", DesiredDescription: "alloc is lost", ClientStatus: "lost" },
        ],
      }),
    );
    const row = read((s) => s.allocation(old.ID));
    assert.deepEqual([row?.NextAllocation, row?.DesiredStatus, row?.ClientStatus], [next.ID, "stop", "lost"]);
    assert.deepEqual(row?.AllocStates, [
      { Field: "ClientStatus", Value: "lost", Time: "2026-11-23T14:48:44Z" },
    ]);
    assert.deepEqual(
      read((s) => s.jobSummary("default", "web")?.Summary.app),
      { Complete: 0, Failed: 0, Lost: 1, Queued: 0, Running: 0, Starting: 1 },
    );
  });

  it("stop without touching what the client reported", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }), report(allocation, { ClientStatus: "running" }));
    machine.apply(
      plan({
        Preempted: [
          {
            ID: allocation.ID,
            DesiredStatus: "evict",
            DesiredDescription: "Preempted",
            PreemptedByAllocation: "p",
          },
        ],
        Stopped: [
          { ID: randomUUID(), DesiredStatus: "stop", DesiredDescription: "unknown ones are skipped" },
        ],
      }),
    );
    const row = read((s) => s.allocation(allocation.ID));
    assert.deepEqual(
      [row?.DesiredStatus, row?.ClientStatus, row?.PreemptedByAllocation, row?.AllocModifyIndex],
      ["evict", "running", "p", 4],
    );
  });

  it("are refused as a whole for a job that is gone", () => {
    const known = makeAllocation();
    const result = machine.apply(
      plan({ Placed: [known, makeAllocation({ JobID: "gone", Name: "gone.app[0]" })] }),
    )[0];
    assert.match(
      refusal(result),
      /allocations of group "app" of job "gone" in namespace "default": the job is not registered/,
    );
    assert.equal(
      read((s) => s.allocation(known.ID)),
      null,
    );
  });

  it("move the evaluation that they answer", () => {
    const evaluation = makeEvaluation();
    machine.apply(evaluations(evaluation), plan({ EvalID: evaluation.ID, Placed: [makeAllocation()] }));
    assert.equal(
      read((s) => s.evaluation(evaluation.ID)?.ModifyIndex),
      3,
    );
  });

  it("keep a version of the job as long as an allocation runs it", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    for (let priority = 51; priority < 60; priority += 1)
      machine.apply(registration(makeJob({ Priority: priority })));
    assert.equal(
      read((s) => s.allocationJob(s.allocation(allocation.ID)!)?.Version),
      0,
    );
    machine.run(CommandType.EvaluationDelete, { EvalIDs: [], AllocIDs: [allocation.ID] });
    assert.deepEqual(
      read((s) => s.versionsOf("default", "web", 1).map((job) => job.Version)),
      [9, 8, 7, 6, 5, 4],
    );
  });
});

describe("reports of agents", () => {
  beforeEach(() => void machine.apply(registration(makeJob())));

  it("merge task states, and count health once", () => {
    const deployment = makeDeployment();
    const allocation = makeAllocation({ DeploymentID: deployment.ID });
    machine.apply(plan({ Deployment: deployment, Placed: [allocation] }));
    const state = (State: string): Record<string, never> => ({ State }) as unknown as Record<string, never>;
    const healthy = { Canary: false, Healthy: true, ModifyIndex: 0, Timestamp: "2026-11-23T15:00:00.5Z" };
    machine.apply(
      report(allocation, { TaskStates: { a: state("running") } as never, DeploymentStatus: healthy }),
    );
    machine.apply(
      report(allocation, { TaskStates: { b: state("running") } as never, DeploymentStatus: healthy }),
    );
    const row = read((s) => s.allocation(allocation.ID));
    assert.deepEqual(Object.keys(row?.TaskStates ?? {}), ["a", "b"]);
    assert.deepEqual(row?.DeploymentStatus, { ...healthy, ModifyIndex: 3 });
    assert.deepEqual([row?.AllocModifyIndex, row?.ModifyIndex, row?.ModifyTime], [2, 4, TIME + 1e6]);
    const group = (): unknown => {
      const found = read((s) => s.deployment(deployment.ID)?.TaskGroups.app);
      return [found?.HealthyAllocs, found?.UnhealthyAllocs, found?.RequireProgressBy];
    };
    assert.deepEqual(group(), [1, 0, "2026-11-23T15:10:00.5Z"]);
    machine.apply(report(allocation, { DeploymentStatus: { ...healthy, Healthy: false } }));
    assert.deepEqual(group(), [0, 1, "2026-11-23T15:10:00.5Z"]);
  });

  it("are ignored for unknown allocations and from another node than the allocation's", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    machine.apply(
      report(allocation, { NodeID: randomUUID(), ClientStatus: "failed" }),
      report(makeAllocation(), {}),
    );
    const row = read((s) => s.allocation(allocation.ID));
    assert.deepEqual([row?.ClientStatus, row?.ModifyIndex], ["pending", 2]);
  });

  it("keep wishes of operators apart", () => {
    const allocation = makeAllocation();
    machine.apply(plan({ Placed: [allocation] }));
    const wish = (transition: object): unknown =>
      machine.run(CommandType.AllocationDesiredTransition, {
        Transitions: {
          [allocation.ID]: { ForceReschedule: null, Migrate: null, Reschedule: null, ...transition },
        },
        Evaluations: [],
        Time: TIME,
      });
    wish({ Migrate: true });
    wish({ Reschedule: false });
    assert.deepEqual(
      read((s) => s.allocation(allocation.ID)?.DesiredTransition),
      { ForceReschedule: null, Migrate: true, Reschedule: false },
    );
  });
});

describe("configuration of the schedulers", () => {
  it("has Nomad's defaults and counts its changes", () => {
    const initial = read((s) => s.schedulerConfiguration());
    assert.deepEqual(initial, {
      CreateIndex: 0,
      MemoryOversubscriptionEnabled: false,
      ModifyIndex: 0,
      PauseEvalBroker: false,
      PreemptionConfig: {
        BatchSchedulerEnabled: false,
        ServiceSchedulerEnabled: false,
        SysBatchSchedulerEnabled: false,
        SystemSchedulerEnabled: true,
      },
      RejectJobRegistration: false,
      SchedulerAlgorithm: "binpack",
    });
    machine.run(CommandType.SchedulerConfigUpdate, { Config: { ...initial, SchedulerAlgorithm: "spread" } });
    machine.run(CommandType.SchedulerConfigUpdate, { Config: initial });
    const now = read((s) => s.schedulerConfiguration());
    assert.deepEqual([now.SchedulerAlgorithm, now.CreateIndex, now.ModifyIndex], ["binpack", 1, 2]);
  });

  it("is changed at the index that the caller knows, or not at all", () => {
    const initial = read((s) => s.schedulerConfiguration());
    const set = (ModifyIndex: number): unknown =>
      machine.run(CommandType.SchedulerConfigUpdate, {
        Config: { ...initial, PauseEvalBroker: true },
        ModifyIndex,
      });
    assert.equal(set(0), true);
    assert.equal(set(0), false);
    assert.equal(read((s) => s.schedulerConfiguration()).ModifyIndex, 1);
    assert.equal(set(1), true);
  });
});

describe("enrolment", () => {
  const Hash = "ab".repeat(32);
  const [NodeID, PublicKey] = [randomUUID(), Buffer.alloc(32, 7).toString("base64")];
  const enroll = (changes: object = {}): unknown =>
    machine.run(CommandType.NodeEnroll, { NodeID, PublicKey, TokenHash: Hash, Time: TIME, ...changes });

  it("pins a key once a token, and takes the same again", async () => {
    assert.match(refusal(enroll()), /the join token is not known/);
    machine.run(CommandType.JoinTokenIssue, { Hash, Expires: TIME + 1e6, Time: TIME });
    assert.match(
      refusal(machine.run(CommandType.JoinTokenIssue, { Hash, Expires: TIME + 9e6, Time: TIME })),
      /issued before/,
    );
    assert.match(refusal(enroll({ Time: TIME + 1e6 })), /expired at 2026-11-23T14:48:44/);
    assert.equal(enroll(), undefined);
    assert.equal(enroll({ Time: TIME + 5e6 }), undefined);
    assert.match(refusal(enroll({ NodeID: randomUUID() })), /used before/);
    assert.match(refusal(enroll({ PublicKey: "other" })), /used before/);
    assert.deepEqual(machine.store.nodeKey(NodeID), new Uint8Array(Buffer.alloc(32, 7)));
    assert.deepEqual(machine.store.joinToken(Hash)?.UsedBy, { NodeID, PublicKey });
    const second = "cd".repeat(32);
    machine.run(CommandType.JoinTokenIssue, { Hash: second, Expires: TIME + 1e6, Time: TIME });
    assert.match(refusal(enroll({ PublicKey: "other", TokenHash: second })), /another key before/);
    machine = await machine.reopen();
    assert.deepEqual(machine.store.nodeKey(NodeID), new Uint8Array(Buffer.alloc(32, 7)));
    assert.equal(machine.store.joinToken(Hash)?.Expires, TIME + 1e6);
  });
});

describe("rows of plugins", () => {
  it("are put, listed by prefix and deleted, each plugin by itself", () => {
    const put = (Plugin: string, Key: string, Value: unknown): unknown =>
      machine.run(CommandType.PluginRowPut, { Plugin, Table: "t", Key, Value });
    put("a", "k/1", { n: 1 });
    put("a", "k/2", [2]);
    put("a", "l", "3");
    put("ab", "k/9", null);
    assert.deepEqual(
      read((s) => [...s.pluginRows("a", "t", "k/")]),
      [
        { key: "k/1", value: { n: 1 } },
        { key: "k/2", value: [2] },
      ],
    );
    machine.run(CommandType.PluginRowDelete, { Plugin: "a", Table: "t", Key: "k/1" });
    machine.run(CommandType.PluginRowDelete, { Plugin: "a", Table: "t", Key: "never" });
    assert.equal(
      read((s) => s.pluginRow("a", "t", "k/1")),
      undefined,
    );
    assert.equal(
      read((s) => s.pluginRow("ab", "t", "k/9")),
      null,
    );
  });

  it("are bounded", () => {
    const put = (changes: object): unknown =>
      machine.run(CommandType.PluginRowPut, { Plugin: "a", Table: "t", Key: "k", Value: 1, ...changes });
    assert.match(refusal(put({ Key: "x".repeat(401) })), /401 bytes; 1 to 400/);
    assert.match(refusal(put({ Value: "x".repeat(1024 * 1024) })), /the limit is 1048576/);
    assert.match(refusal(put({ Table: "a\0b" })), /no null character/);
    assert.equal(put({ Key: "x".repeat(400) }), undefined);
  });
});
