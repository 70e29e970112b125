/** The watcher alone, over a state machine: what it writes to the log, when, and how often. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type {
  Allocation,
  Consensus,
  Deployment,
  DeploymentState,
  Evaluation,
  Proposed,
} from "@drover/plugin-sdk";
import { eventually, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { CommandLog } from "../../../core/server/command-log.js";
import { DeploymentWatcher } from "../../../core/server/deployments/watcher.js";
import { type Command, CommandType, decodeCommand } from "../../../core/state/index.js";
import {
  type Machine,
  makeAllocation,
  makeDeployment,
  makeJob,
  openMachine,
  plan,
  registration,
  report,
} from "../state/support.js";

const HEALTHY = { Canary: false, Healthy: true, ModifyIndex: 0, Timestamp: "2026-11-23T15:00:00Z" };

interface Subject {
  readonly machine: Machine;
  readonly watcher: DeploymentWatcher;
  /** Commands that the watcher wrote. */
  readonly written: Command[];
  /** Whether the log takes nothing, and how often it said so. */
  refusing: boolean;
  refused: number;
  lead(): void;
  /** Applies commands and tells the watcher, as the leader does with its own. */
  commit(...commands: readonly Command[]): void;
}

async function subject(t: TestContext): Promise<Subject> {
  const machine = openMachine();
  const written: Command[] = [];
  const propose = async (data: Uint8Array): Promise<Proposed> => {
    if (made.refusing) {
      made.refused++;
      throw new Error("the log is full");
    }
    written.push(decodeCommand(data));
    const index = machine.fsm.lastApplied() + 1;
    const [result] = machine.fsm.apply([{ index, term: 1, data }]);
    if (result instanceof Error) throw result;
    return { index, result };
  };
  const log = new CommandLog({ propose } as unknown as Consensus);
  const watcher = new DeploymentWatcher(machine.store, log, quietLogger, quietMetrics);
  log.onCommitted((command) => watcher.committed(command));
  const made: Subject = {
    machine,
    watcher,
    written,
    refusing: false,
    refused: 0,
    lead: () => {
      using snapshot = machine.store.snapshot();
      watcher.enable(snapshot);
    },
    commit: (...commands) => {
      machine.apply(...commands);
      for (const command of commands) watcher.committed(command);
    },
  };
  t.after(async () => {
    watcher.disable();
    await machine.close();
  });
  return made;
}

interface Deployed {
  readonly deployment: Deployment;
  readonly allocation: Allocation;
}

/** `count` jobs, each with a deployment that has placed one allocation. */
function deploy(
  { machine, commit }: Subject,
  count: number,
  group: Partial<DeploymentState> = {},
): Deployed[] {
  const ids = Array.from({ length: count }, (_, i) => `job-${i}`);
  machine.apply(...ids.map((ID) => registration(makeJob({ ID, Name: ID }))));
  using snapshot = machine.store.snapshot();
  const made = ids.map((JobID): Deployed => {
    const JobCreateIndex = snapshot.job("default", JobID)!.CreateIndex;
    const deployment = makeDeployment({ JobID, JobCreateIndex });
    Object.assign(deployment.TaskGroups.app!, group);
    return { deployment, allocation: makeAllocation({ JobID, DeploymentID: deployment.ID }) };
  });
  commit(
    ...made.map(({ deployment, allocation }) =>
      plan({ Deployment: deployment, Placed: [allocation], Time: Date.now() * 1e6 }),
    ),
  );
  return made;
}

const evaluationsOf = (written: readonly Command[]): Evaluation[] =>
  written.flatMap((command) =>
    command.type === CommandType.AllocationDesiredTransition ? command.payload.Evaluations : [],
  );
const healthReport = ({ allocation }: Deployed): Command => report(allocation, { DeploymentStatus: HEALTHY });

/** A deployment more becomes healthy: when its evaluation is there, everything before was looked at. */
async function looked({ machine, commit, written }: Subject): Promise<void> {
  const ID = `probe-${written.length}`;
  machine.apply(registration(makeJob({ ID, Name: ID })));
  using snapshot = machine.store.snapshot();
  const JobCreateIndex = snapshot.job("default", ID)!.CreateIndex;
  const deployment = makeDeployment({ JobID: ID, JobCreateIndex });
  const allocation = makeAllocation({ JobID: ID, DeploymentID: deployment.ID });
  commit(plan({ Deployment: deployment, Placed: [allocation], Time: Date.now() * 1e6 }));
  commit(healthReport({ deployment, allocation }));
  await eventually("the probe is evaluated", () => evaluationsOf(written).some(({ JobID }) => JobID === ID));
}

test("deployments in which nothing becomes healthy cost no entry of the log, under a new leader neither", async (t) => {
  const made = await subject(t);
  made.lead();
  deploy(made, 200);
  assert.equal(made.watcher.active, 200);
  await looked(made);
  assert.equal(made.written.length, 1, "the probe's alone");
  made.watcher.disable();
  assert.equal(made.watcher.active, 0);
  made.written.length = 0;
  made.lead();
  assert.equal(made.watcher.active, 201);
  await looked(made);
  const evaluated = evaluationsOf(made.written).map(({ JobID }) => JobID);
  assert.ok(
    evaluated.every((job) => job.startsWith("probe-")),
    `evaluated: ${evaluated.join()}`,
  );
});

test("hundreds of deployments with news share a few entries, one evaluation each", async (t) => {
  const made = await subject(t);
  made.lead();
  const deployed = deploy(made, 1_200);
  made.commit(...deployed.map(healthReport));
  await eventually("all are evaluated", () => evaluationsOf(made.written).length >= 1_200);
  await looked(made);
  const jobs = evaluationsOf(made.written).map(({ JobID }) => JobID);
  assert.equal(new Set(jobs).size, jobs.length, "none twice");
  assert.ok(made.written.length <= 5, `${made.written.length} entries`);
  assert.ok(evaluationsOf(made.written).every(({ TriggeredBy }) => TriggeredBy === "deployment-watcher"));
});

test("a new leader evaluates what is healthy already, and lets what failed be replaced", async (t) => {
  const made = await subject(t);
  const [healthy, failed] = deploy(made, 3);
  made.machine.apply(
    healthReport(healthy!),
    report(failed!.allocation, {
      ClientStatus: "failed",
      DeploymentStatus: { ...HEALTHY, Healthy: false },
    }),
  );
  made.lead();
  await eventually("both are evaluated", () => evaluationsOf(made.written).length === 2);
  assert.deepEqual(
    evaluationsOf(made.written)
      .map(({ DeploymentID }) => DeploymentID)
      .sort(),
    [healthy!.deployment.ID, failed!.deployment.ID].sort(),
  );
  using snapshot = made.machine.store.snapshot();
  assert.equal(snapshot.allocation(failed!.allocation.ID)?.DesiredTransition?.Reschedule, true);
  assert.notEqual(snapshot.allocation(healthy!.allocation.ID)?.DesiredTransition?.Reschedule, true);
});

test("what could not be written is written once the log takes it again", async (t) => {
  const made = await subject(t);
  made.lead();
  const [healthy] = deploy(made, 1);
  made.refusing = true;
  made.commit(healthReport(healthy!));
  await eventually("it was refused", () => made.refused > 0);
  made.refusing = false;
  await eventually("it is written", () => evaluationsOf(made.written).length === 1);
  assert.equal(evaluationsOf(made.written)[0]?.DeploymentID, healthy!.deployment.ID);
});

test("a deployment that could not be read is looked at again", async (t) => {
  const made = await subject(t);
  made.lead();
  const [healthy] = deploy(made, 1);
  const { store } = made.machine;
  made.commit(healthReport(healthy!));
  const snapshot = store.snapshot.bind(store);
  let failures = 0;
  store.snapshot = () => {
    failures++;
    store.snapshot = snapshot;
    throw new Error("the disk is gone");
  };
  await eventually("it is evaluated", () => evaluationsOf(made.written).length === 1);
  assert.equal(failures, 1);
});

test("a deployment that failed without progress deadline is failed once, and not while it is paused", async (t) => {
  const made = await subject(t);
  made.lead();
  const [paused, broken] = deploy(made, 2, { ProgressDeadline: 0 });
  const unhealthy = ({ allocation }: Deployed): Command =>
    report(allocation, { ClientStatus: "failed", DeploymentStatus: { ...HEALTHY, Healthy: false } });
  made.commit(
    {
      type: CommandType.DeploymentStatusUpdate,
      payload: {
        Update: {
          DeploymentID: paused!.deployment.ID,
          Status: "paused",
          StatusDescription: "Deployment is paused",
        },
        Evaluation: null,
        Job: null,
        Time: Date.now() * 1e6,
      },
    },
    unhealthy(paused!),
    unhealthy(broken!),
  );
  const failed = (): string[] =>
    made.written.flatMap((command) =>
      command.type === CommandType.DeploymentStatusUpdate ? [command.payload.Update.DeploymentID] : [],
    );
  await eventually("one is failed", () => failed().length > 0);
  await eventually("and watched no more", () => made.watcher.active === 1);
  await looked(made);
  assert.deepEqual(failed(), [broken!.deployment.ID]);
  using snapshot = made.machine.store.snapshot();
  assert.equal(
    snapshot.deployment(broken!.deployment.ID)?.StatusDescription,
    "Failed due to unhealthy allocations",
  );
  assert.equal(snapshot.deployment(paused!.deployment.ID)?.Status, "paused");
});

test("a server that leads no more writes nothing", async (t) => {
  const made = await subject(t);
  made.lead();
  const [healthy] = deploy(made, 1);
  made.commit(healthReport(healthy!));
  made.watcher.disable();
  assert.equal(made.watcher.active, 0);
  made.watcher.committed(healthReport(healthy!));
  made.lead();
  await eventually("the next term writes it", () => evaluationsOf(made.written).length > 0);
  await looked(made);
  const own = evaluationsOf(made.written).filter(({ JobID }) => JobID === "job-0");
  assert.equal(own.length, 1);
});
