/** A leader with a large state takes a snapshot, and then a server without any joins it while writes go on. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ConsensusServers, type Member } from "./consensus-servers.js";

/** The leader takes a snapshot after so many entries, and no other one during the measurement. */
const LEADER = { snapshot_threshold: 64, snapshot_interval: 3_600_000 } as const;
/** Entries by which the new server may be behind while writes go on. */
const BEHIND = 16;
/** Milliseconds between two looks. */
const PACE = 20;
const PATIENCE = 300_000;

export async function measureCatchup(allocations: number, rate: number): Promise<object> {
  const servers = await ConsensusServers.create(2, "state");
  try {
    const builder = await servers.start(0);
    await builder.process.ask("bootstrap", [{ id: builder.id, address: builder.address }]);
    await builder.process.ask("fill", allocations);
    await servers.stop(builder);
    const leader = await servers.start(0, LEADER);
    await servers.leader();
    const snapshot = await ofSnapshot(leader);
    const joined = await ofJoining(servers, leader, allocations, rate);
    const file = join(servers.folderOf(0), "server", "state", "data.mdb");
    return { allocations, state_mb: Math.round(statSync(file).size / 1e6), rate, snapshot, ...joined };
  } finally {
    await servers.destroy();
  }
}

async function ofSnapshot({ process }: Member): Promise<object> {
  await process.ask("watchLoop", null);
  const begin = performance.now();
  await process.ask("takeSnapshot", null);
  const milliseconds = Math.round(performance.now() - begin);
  const { max, p99 } = await process.ask("loopDelay", null);
  return { milliseconds, leader_loop_delay_max_ms: max, leader_loop_delay_p99_ms: p99 };
}

async function ofJoining(
  servers: ConsensusServers,
  leader: Member,
  allocations: number,
  rate: number,
): Promise<object> {
  await leader.process.ask("beginWrites", { allocations, rate });
  await delay(1_000);
  await leader.process.ask("watchLoop", null);
  const begin = performance.now();
  const fresh = await servers.start(1);
  await fresh.process.ask("watchLoop", null);
  await leader.process.ask("addNonvoter", { id: fresh.id, address: fresh.address });
  await untilCaughtUp(fresh, leader, begin);
  const milliseconds = Math.round(performance.now() - begin);
  const own = await leader.process.ask("loopDelay", null);
  const its = await fresh.process.ask("loopDelay", null);
  await leader.process.ask("promote", fresh.id);
  const written = await leader.process.ask("endWrites", null);
  return {
    caught_up_ms: milliseconds,
    written,
    leader_loop_delay_max_ms: own.max,
    leader_loop_delay_p99_ms: own.p99,
    follower_loop_delay_max_ms: its.max,
  };
}

async function untilCaughtUp(fresh: Member, leader: Member, begin: number): Promise<void> {
  for (;;) {
    const { applied } = await fresh.process.ask("status", null);
    const { applied: target } = await leader.process.ask("status", null);
    if (target - applied < BEHIND) return;
    if (performance.now() - begin > PATIENCE) {
      throw new Error(
        `the new server has applied ${applied} of ${target} entries after ${PATIENCE / 1000} s`,
      );
    }
    await delay(PACE);
  }
}
