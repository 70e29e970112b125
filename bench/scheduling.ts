/**
 * Placements a second on the node columns: reading the state, filtering, scoring and placing, as a scheduling thread does
 * it, without consensus. Plans are committed to the state between jobs; that time is reported apart.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Job, Plan, SchedulerContext, Spread } from "@drover/plugin-sdk";
import { createPlan, genericScheduler } from "@drover/plugin-sdk/scheduling";
import { makeEvaluation, makeGroup, makeJob, makeNode, makeTask } from "@drover/plugin-sdk/testing";
import { type Command, CommandType, encodeCommand, StateFsm, StateStore } from "../core/state/index.js";
import { openReader, SharedNodeColumns } from "../core/state/read/index.js";
import { ColumnPlacer } from "../workers/placement/index.js";
import { threadLogger } from "../workers/thread-logger.js";

const RACKS = 50;
const TIME = 1_800_000_000_000;

export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: "string", default: "5000" },
      allocs: { type: "string", default: "10000" },
      jobs: { type: "string", default: "10" },
    },
  });
  const sizes = { nodes: Number(values.nodes), allocs: Number(values.allocs), jobs: Number(values.jobs) };
  return {
    ...sizes,
    constraints: await measure(sizes, null),
    spread: await measure(sizes, { Attribute: "${meta.rack}", SpreadTarget: null, Weight: 50 }),
  };
}

interface Sizes {
  readonly nodes: number;
  readonly allocs: number;
  readonly jobs: number;
}

async function measure(sizes: Sizes, spread: Spread | null): Promise<object> {
  const folder = await mkdtemp(join(tmpdir(), "drover-bench-"));
  const path = join(folder, "state");
  const store = StateStore.open({ path });
  const reader = openReader(path);
  try {
    const fsm = new StateFsm(store);
    const apply = (...commands: Command[]): void => {
      const first = store.index() + 1;
      const entries = commands.map((command, i) => ({
        index: first + i,
        term: 1,
        data: encodeCommand(command),
      }));
      for (const result of fsm.apply(entries)) if (result instanceof Error) throw result;
    };
    apply(
      ...Array.from({ length: sizes.nodes }, (_, i): Command => {
        const node = makeNode({ Meta: { rack: `r${i % RACKS}` } });
        return { type: CommandType.NodeRegister, payload: { Node: node, Evaluations: [], Time: TIME * 1e6 } };
      }),
    );
    const columns = new SharedNodeColumns(store.columns);
    const scheduler = genericScheduler({ type: "service", batch: false });
    const log = threadLogger();
    let schedulingTime = 0;
    let commitTime = 0;
    let placed = 0;
    for (let i = 0; i < sizes.jobs; i++) {
      const job = benchJob(i, Math.floor(sizes.allocs / sizes.jobs), spread);
      const evaluation = makeEvaluation(job);
      apply({
        type: CommandType.JobRegister,
        payload: {
          Job: job,
          Evaluation: evaluation,
          EnforceIndex: false,
          JobModifyIndex: 0,
          Time: TIME * 1e6,
        },
      });
      const state = reader.snapshot();
      const plans: Plan[] = [];
      const context: SchedulerContext = {
        evaluation,
        state,
        columns,
        log,
        now: TIME,
        newPlan: (of) => createPlan(evaluation, "", of, state.index),
        placer: (plan) => new ColumnPlacer({ columns, state, plan, evaluation, filters: [], scorers: [] }),
        submitPlan: async (plan) => {
          plans.push(plan);
          return { result: { ...plan, AllocIndex: 1, RefreshIndex: 0, RejectedNodes: [] }, refreshed: false };
        },
        updateEvaluation: async () => {},
        createEvaluation: async () => {},
        reblockEvaluation: async () => {},
      };
      const begin = performance.now();
      await scheduler.process(context);
      const planned = performance.now();
      schedulingTime += planned - begin;
      state.close();
      for (const plan of plans) {
        const Placed = Object.values(plan.NodeAllocation).flat();
        placed += Placed.length;
        apply({
          type: CommandType.PlanApply,
          payload: {
            EvalID: plan.EvalID,
            Placed,
            Stopped: [],
            Preempted: [],
            Deployment: null,
            DeploymentUpdates: [],
            Evaluations: [],
            Time: TIME * 1e6,
          },
        });
      }
      commitTime += performance.now() - planned;
    }
    return {
      placed,
      placementsPerSecond: Math.round((placed / schedulingTime) * 1000),
      microsecondsPerPlacement: Math.round((schedulingTime / placed) * 10_000) / 10,
      commitMilliseconds: Math.round(commitTime),
    };
  } finally {
    await reader.close();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function benchJob(i: number, count: number, spread: Spread | null): Job {
  const task = makeTask();
  return makeJob({
    ID: `bench-${i}`,
    Constraints: [
      { LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "linux" },
      { LTarget: "${attr.cpu.arch}", Operand: "=", RTarget: "amd64" },
    ],
    TaskGroups: [
      makeGroup({
        Count: count,
        Spreads: spread === null ? null : [spread],
        Tasks: [{ ...task, Resources: { ...task.Resources, CPU: 50, MemoryMB: 32 } }],
      }),
    ],
  });
}
