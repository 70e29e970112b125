/**
 * One server of the consensus benchmarks, in a process of its own: the network between servers, the plugin consensus-raft with
 * its log on disk, and a state machine; nothing else of a server. The benchmark tells it what to do over the process channel;
 * writers reach it by calls over the network.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import type { Logger, StateMachine } from "@drover/plugin-sdk";
import { eventually, quietMetrics } from "@drover/plugin-sdk/testing";
import { StateFsm } from "../core/state/fsm.js";
import { StateStore } from "../core/state/index.js";
import { RaftConfig } from "../plugins/consensus-raft/config.js";
import { RaftConsensus } from "../plugins/consensus-raft/consensus.js";
import { openNetwork } from "../test/core/rpc/network/support.js";
import { childOptions, serveParent } from "./child.js";
import {
  type LoopDelay,
  PROPOSE_METHOD,
  type ServerCalls,
  type ServerOptions,
  type ServerStatus,
} from "./consensus-calls.js";
import { fillState, StateWriter } from "./consensus-state.js";
import { CountingMachine } from "./counting-machine.js";

const NOTHING = new Uint8Array(0);
const NANOS_PER_MILLISECOND = 1e6;

const ignore = (): void => undefined;
/** Elections make others complain about the one that was killed; only what is wrong is said. */
const log: Logger = {
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: (fields, message) => console.error(message, fields),
  child: () => log,
};

const options = childOptions<ServerOptions>();
const { network, address, stop: stopNetwork } = await openNetwork({ port: options.port });
const consensus = new RaftConsensus({
  agent: {
    dataDir: options.dataDir,
    devMode: false,
    region: "global",
    advertise: { http: "", rpc: address, serf: "" },
  },
  network,
  log,
  metrics: quietMetrics,
  config: RaftConfig.parse(options.config),
});
let state: StateStore | undefined;
let writer: StateWriter | undefined;
let delays: IntervalHistogram | undefined;

network.handle(PROPOSE_METHOD, async (body) => {
  await consensus.propose(body);
  return NOTHING;
});

async function openMachine(): Promise<StateMachine> {
  if (options.machine === "counter") return new CountingMachine();
  await mkdir(join(options.dataDir, "server"), { recursive: true });
  state = StateStore.open({ path: join(options.dataDir, "server", "state") });
  return new StateFsm(state);
}

function status(): ServerStatus {
  const stats = consensus.stats();
  return {
    leads: consensus.isLeader(),
    term: consensus.term(),
    applied: Number(stats.applied_index),
    last: Number(stats.last_log_index),
    snapshot: Number(stats.last_snapshot_index),
  };
}

function loopDelay(): LoopDelay {
  if (delays === undefined) throw new Error("the event loop is not watched");
  delays.disable();
  const milliseconds = (nanos: number): number => Math.round(nanos / (NANOS_PER_MILLISECOND / 10)) / 10;
  return { max: milliseconds(delays.max), p99: milliseconds(delays.percentile(99)) };
}

const leads = (): Promise<boolean> => eventually("leadership", () => consensus.isLeader(), 60_000);

serveParent<ServerCalls>({
  start: async () => {
    await consensus.prepare((error) => {
      throw error;
    });
    await consensus.start(await openMachine());
    return { id: consensus.id, address };
  },
  bootstrap: (servers) => consensus.membership.bootstrap([...servers]),
  status,
  commitAsLeader: () =>
    new Promise((resolve, reject) => {
      const off = consensus.onLeadership((leader) => {
        if (!leader) return;
        consensus.propose(NOTHING).then(() => resolve(), reject);
        queueMicrotask(() => off());
      });
    }),
  addNonvoter: async (server) => void (await consensus.membership.addNonvoter(server.id, server.address)),
  promote: async (id) => void (await consensus.membership.promote(id)),
  watchLoop: () => {
    delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
  },
  loopDelay,
  fill: async (allocations) => {
    await leads();
    await fillState(consensus, allocations);
  },
  beginWrites: ({ allocations, rate }) => {
    writer = new StateWriter(consensus, allocations, rate);
  },
  endWrites: () => {
    if (writer === undefined) throw new Error("nothing is written");
    return writer.stop();
  },
  takeSnapshot: async () => {
    const before = status().snapshot;
    for (let i = 0; i < (options.config.snapshot_threshold ?? 0); i++) await consensus.propose(NOTHING);
    return eventually(
      "a snapshot",
      () => {
        const { snapshot } = status();
        return snapshot > before ? snapshot : undefined;
      },
      300_000,
    );
  },
  stop: async () => {
    await consensus.stop();
    await state?.close();
    await stopNetwork();
  },
});
