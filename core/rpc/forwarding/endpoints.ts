/** Where each method of the endpoints runs, and the endpoints that have it run there. */
import type { ServerEndpoints } from "@drover/plugin-sdk";
import { z } from "zod";
import type { Consistency } from "./consistency.js";
import type { LeaderCalls } from "./leader-calls.js";

/** Needs nothing but its arguments, or finds its own way (`nodes.call`), or says of this server what it knows. */
const ANYWHERE = "anywhere";
/** Decides on the state and writes nothing: runs where it was asked for, once that server's state is caught up. */
const CAUGHT_UP = "caught up";

interface OnLeader<Args extends readonly unknown[]> {
  /** Name between servers. */
  readonly method: string;
  readonly schema: z.ZodType<Args>;
}

const onLeader = <Args extends readonly unknown[]>(
  method: string,
  schema: z.ZodType<Args>,
): OnLeader<Args> => ({
  method,
  schema,
});

type Placement<Method> = Method extends (...args: infer Args) => infer Answer
  ? typeof ANYWHERE | (Answer extends Promise<unknown> ? typeof CAUGHT_UP | OnLeader<Readonly<Args>> : never)
  : never;

/** Every method has its place: one that is added to the contract doesn't compile before it has one here. */
type Placements = {
  readonly [Group in keyof ServerEndpoints]: {
    readonly [Method in keyof ServerEndpoints[Group]]: Placement<ServerEndpoints[Group][Method]>;
  };
};

const id = z.string();
const namespace = z.string();
const raftPeer = z.object({ id: z.string().optional(), address: z.string().optional() });
const ofJob = { namespace, jobId: z.string() };

export const PLACEMENTS: Placements = {
  jobs: {
    register: onLeader(
      "Job.Register",
      z.tuple([
        z.object({
          job: z.unknown(),
          namespace,
          region: z.string(),
          enforceIndex: z.boolean(),
          jobModifyIndex: z.number(),
          preserveCounts: z.boolean(),
        }),
      ]),
    ),
    deregister: onLeader("Job.Deregister", z.tuple([z.object({ ...ofJob, purge: z.boolean() })])),
    evaluate: onLeader("Job.Evaluate", z.tuple([z.object({ ...ofJob, forceReschedule: z.boolean() })])),
    stable: onLeader(
      "Job.Stable",
      z.tuple([z.object({ ...ofJob, version: z.number(), stable: z.boolean() })]),
    ),
    revert: onLeader(
      "Job.Revert",
      z.tuple([z.object({ ...ofJob, version: z.number(), enforcePriorVersion: z.number().nullable() })]),
    ),
    // The scheduler runs in a thread of the server that was asked: a leader has enough to do.
    plan: CAUGHT_UP,
    validate: ANYWHERE,
    parse: ANYWHERE,
    diffVersions: ANYWHERE,
  },
  nodes: {
    setEligibility: onLeader("Node.UpdateEligibility", z.tuple([id, z.string()])),
    setDrain: onLeader(
      "Node.UpdateDrain",
      z.tuple([
        z.object({
          nodeId: id,
          spec: z.object({ Deadline: z.number(), IgnoreSystemJobs: z.boolean() }).nullable(),
          markEligible: z.boolean(),
          meta: z.record(z.string(), z.string()).nullable(),
        }),
      ]),
    ),
    evaluate: onLeader("Node.Evaluate", z.tuple([id])),
    purge: onLeader("Node.Deregister", z.tuple([id])),
    call: ANYWHERE,
    stream: ANYWHERE,
  },
  allocations: {
    stop: onLeader("Alloc.Stop", z.tuple([id])),
  },
  deployments: {
    promote: onLeader(
      "Deployment.Promote",
      z.tuple([z.object({ deploymentId: id, all: z.boolean(), groups: z.array(z.string()) })]),
    ),
    fail: onLeader("Deployment.Fail", z.tuple([id])),
    pause: onLeader("Deployment.Pause", z.tuple([id, z.boolean()])),
    setHealth: onLeader(
      "Deployment.SetAllocHealth",
      z.tuple([z.object({ deploymentId: id, healthy: z.array(id), unhealthy: z.array(id) })]),
    ),
  },
  operator: {
    collectGarbage: onLeader("System.GarbageCollect", z.tuple([])),
    setSchedulerConfiguration: onLeader(
      "Operator.SchedulerSetConfiguration",
      z.tuple([z.unknown(), z.number().optional()]),
    ),
    schedulerConfiguration: ANYWHERE,
    autopilotConfiguration: ANYWHERE,
    setAutopilotConfiguration: onLeader(
      "Operator.AutopilotSetConfiguration",
      z.tuple([z.unknown(), z.number().optional()]),
    ),
    autopilotHealth: onLeader("Operator.ServerHealth", z.tuple([])),
    raftConfiguration: ANYWHERE,
    removeRaftPeer: onLeader("Operator.RaftRemovePeer", z.tuple([raftPeer])),
    transferLeadership: onLeader("Operator.TransferLeadership", z.tuple([raftPeer])),
    // Its secret stays here: what goes to the leader is the token's hash.
    issueJoinToken: ANYWHERE,
  },
  // They find the leader themselves: archives are streams.
  snapshots: { save: ANYWHERE, restore: ANYWHERE },
  status: {
    leader: ANYWHERE,
    peers: ANYWHERE,
    members: ANYWHERE,
    join: ANYWHERE,
    forceLeave: ANYWHERE,
    health: ANYWHERE,
    stats: ANYWHERE,
    catchUp: ANYWHERE,
    lastContact: ANYWHERE,
  },
};

type Method = (...args: readonly unknown[]) => unknown;

/** The endpoints of `local` as every server of the cluster can offer them. */
export function forwardedEndpoints(
  local: ServerEndpoints,
  calls: LeaderCalls,
  consistency: Consistency,
): ServerEndpoints {
  const groups = Object.entries(PLACEMENTS).map(([group, placements]) => {
    const target = local[group as keyof ServerEndpoints] as unknown as Record<string, Method>;
    const methods = Object.entries(placements as Record<string, Placement<Method>>).map(
      ([name, placement]) => {
        const run: Method = (...args) => target[name]!(...args);
        return [name, placed(run, placement, calls, consistency)] as const;
      },
    );
    return [group, Object.fromEntries(methods)] as const;
  });
  return Object.fromEntries(groups) as unknown as ServerEndpoints;
}

function placed(
  run: Method,
  placement: Placement<Method>,
  calls: LeaderCalls,
  consistency: Consistency,
): Method {
  if (placement === ANYWHERE) return run;
  if (placement === CAUGHT_UP) {
    return async (...args) => {
      await consistency.catchUp(false);
      return run(...args);
    };
  }
  const { method, schema } = placement as OnLeader<readonly unknown[]>;
  return calls.define(method, schema, async (...args) => run(...args));
}
