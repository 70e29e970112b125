/** Three servers are hurt while clients write and read; what the clients saw is judged. */
import { isDeepStrictEqual } from "node:util";
import { eventually } from "@drover/plugin-sdk/testing";
import { Random } from "../../simulation/random.js";
import { loopbackPlaces, type Place, Servers } from "../servers.js";
import { Clients } from "./clients.js";
import { type Arena, type FaultName, strike } from "./faults.js";
import { type History, violations } from "./history.js";
import { LeaderWatch } from "./leaders.js";
import { Namespaces } from "./namespaces.js";

const SERVERS = 3;
/** Acknowledged writes that are waited for while a fault lasts, and once it is over. */
const WRITES = 30;
/** Ports that a namespace has to itself. */
const PORTS = { rpc: 4647, http: 4646, serf: 4648, broker: 1883 };

export interface ProofOptions {
  readonly faults: readonly FaultName[];
  /** Of the clients' choices and of the victims'. */
  readonly seed: number;
  /** Each server in a network namespace of its own; only in a program of `startInNamespace`. */
  readonly inNamespaces: boolean;
  /** What is done and measured, line by line. */
  readonly say: (line: string) => void;
}

/** Rejects with everything that clients saw and must not have, or with what the servers printed where they don't recover. */
export async function prove({ faults, seed, inNamespaces, say }: ProofOptions): Promise<void> {
  const namespaces = inNamespaces ? await Namespaces.create(SERVERS) : undefined;
  const servers = new Servers(
    namespaces?.all.map(({ ip, launcher }): Place => ({ ip, launcher, ports: PORTS })) ??
      (await loopbackPlaces(SERVERS)),
  );
  const arena: Arena = { servers, namespaces, random: new Random(seed) };
  const clients = new Clients(servers.all, seed);
  const watch = new LeaderWatch(servers.all);
  try {
    for (const server of servers.all) servers.start(server);
    await servers.leader();
    watch.start();
    clients.start();
    await writesSince(arena, clients, performance.now());
    for (const fault of faults) await round(arena, clients, fault, say);
    await clients.stop();
    await watch.stop();
    const wrong: string[] = [];
    const final = await settled(servers, clients).catch((error: unknown): History["final"] => {
      // What the clients saw is judged all the same.
      wrong.push(String(error));
      return new Map();
    });
    const { writes, reads } = clients;
    const count = (outcome: string): number => writes.filter((write) => write.outcome === outcome).length;
    say(
      `writes: ${count("acknowledged")} acknowledged, ${count("refused")} refused, ${count("unknown")} unknown; ` +
        `${reads.length} consistent reads`,
    );
    const leaders = watch.leaders();
    if (leaders.length === 0) wrong.push("no leader was seen");
    wrong.unshift(...violations({ writes, reads, leaders, final }));
    if (wrong.length > 0) throw new Error(`${wrong.join("\n")}\n${servers.printed()}`);
  } finally {
    await clients.stop();
    await watch.stop();
    await servers.remove();
    namespaces?.remove();
  }
}

async function round(
  arena: Arena,
  clients: Clients,
  fault: FaultName,
  say: (line: string) => void,
): Promise<void> {
  const { servers } = arena;
  const struck = await strike(arena, fault);
  const since = performance.now();
  try {
    if (struck.electing !== undefined) await servers.leader(struck.electing);
    if (struck.serves) await writesSince(arena, clients, since);
  } finally {
    await struck.heal();
  }
  const healed = performance.now();
  await servers.leader();
  await writesSince(arena, clients, healed);
  const from = struck.serves ? since : healed;
  const [first] = clients.acknowledged(from);
  say(`${struck.what}: serves again after ${Math.round(first!.end - from)} ms`);
}

/** Waits until clients were served a while. */
function writesSince({ servers }: Arena, clients: Clients, since: number): Promise<void> {
  return servers.until("writes that are acknowledged", () => clients.acknowledged(since).length >= WRITES);
}

/** What every server has, read while none of them applies anything: some requests may go on that no client waits for. */
async function settled(servers: Servers, clients: Clients): Promise<History["final"]> {
  let final: History["final"] = new Map();
  await eventually("servers that have applied the same", async () => {
    const before = await applied(servers);
    if (new Set(before).size !== 1 || before[0] === undefined) return false;
    const contents = servers.all.map(
      async (server) => [server.name, await clients.contents(server)] as const,
    );
    final = new Map(await Promise.all(contents));
    return isDeepStrictEqual(await applied(servers), before);
  });
  return final;
}

/** Index to which each server has applied the log. */
function applied(servers: Servers): Promise<(string | undefined)[]> {
  return Promise.all(
    servers.all.map(async (server) => {
      const self = await servers.get<{ stats: { raft: { applied_index: string } } }>(server, "agent/self");
      return self?.stats.raft.applied_index;
    }),
  );
}
