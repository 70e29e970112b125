/** A leader dies: until another one has committed a new command. */
import { eventually } from "@drover/plugin-sdk/testing";
import { ConsensusServers, type Member } from "./consensus-servers.js";
import { quantile } from "./quantile.js";

/** Entries by which a server may be behind and counts as caught up. */
const BEHIND = 2;

export async function measureElections(count: number): Promise<object> {
  const servers = await ConsensusServers.create(3, "counter");
  try {
    let leader = await servers.begin();
    await leader.process.ask("commitAsLeader", null);
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const { milliseconds, successor } = await killed(servers, leader);
      times.push(milliseconds);
      await caughtUp(await servers.start(leader.number), successor);
      leader = successor;
    }
    return {
      elections: count,
      median_ms: quantile(times, 0.5),
      p90_ms: quantile(times, 0.9),
      worst_ms: quantile(times, 1),
    };
  } finally {
    await servers.destroy();
  }
}

async function killed(
  servers: ConsensusServers,
  leader: Member,
): Promise<{ readonly milliseconds: number; readonly successor: Member }> {
  const others = [...servers.running.values()].filter((member) => member !== leader);
  const committed = Promise.any(
    others.map(async (member) => {
      await member.process.ask("commitAsLeader", null);
      return member;
    }),
  );
  const begin = performance.now();
  await servers.kill(leader);
  const successor = await committed;
  return { milliseconds: performance.now() - begin, successor };
}

async function caughtUp(member: Member, leader: Member): Promise<void> {
  await eventually("the killed server has caught up", async () => {
    const [own, its] = await Promise.all([
      member.process.ask("status", null),
      leader.process.ask("status", null),
    ]);
    if (!its.leads) throw new Error("the leader changed meanwhile");
    return its.applied - own.applied < BEHIND;
  });
}
