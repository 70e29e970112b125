/** What is done to a cluster, and how it is undone. */
import type { Random } from "../../simulation/random.js";
import type { Server, Servers } from "../servers.js";
import type { Namespaces } from "./namespaces.js";

export interface Arena {
  readonly servers: Servers;
  /** Undefined where all servers are on loopback. */
  readonly namespaces: Namespaces | undefined;
  readonly random: Random;
}

export interface Struck {
  /** What was done, to whom. */
  readonly what: string;
  /** Servers that must elect a leader among themselves, where the old one is not among them. */
  readonly electing: readonly Server[] | undefined;
  /** False where nobody can serve before it is undone. */
  readonly serves: boolean;
  heal(): Promise<void> | void;
}

interface Roles {
  readonly leader: Server;
  readonly followers: readonly Server[];
  /** One of the followers. */
  readonly follower: Server;
}

type Strike = (arena: Arena, roles: Roles) => Promise<Struck> | Struck;

export const PROCESS_FAULTS = {
  async "kill-leader"({ servers }, { leader, followers }) {
    await kill(leader);
    const heal = (): void => servers.start(leader);
    return { what: `kill -9 of the leader ${leader.name}`, electing: followers, serves: true, heal };
  },
  async "kill-follower"({ servers }, { follower }) {
    await kill(follower);
    const heal = (): void => servers.start(follower);
    return { what: `kill -9 of the follower ${follower.name}`, electing: undefined, serves: true, heal };
  },
  async "kill-all"({ servers }) {
    await Promise.all(servers.all.map(kill));
    const heal = (): void => servers.all.forEach((server) => void servers.start(server));
    return { what: "kill -9 of all servers", electing: undefined, serves: false, heal };
  },
  "pause-leader"(_, { leader, followers }) {
    signal(leader, "SIGSTOP");
    // Until the others elected another leader, so longer than an election timeout.
    const heal = (): void => signal(leader, "SIGCONT");
    return { what: `SIGSTOP of the leader ${leader.name}`, electing: followers, serves: true, heal };
  },
  "pause-follower"(_, { follower }) {
    signal(follower, "SIGSTOP");
    const heal = (): void => signal(follower, "SIGCONT");
    return { what: `SIGSTOP of the follower ${follower.name}`, electing: undefined, serves: true, heal };
  },
} satisfies Record<string, Strike>;

export const NETWORK_FAULTS = {
  "isolate-leader"(arena, { leader, followers }) {
    const heal = isolate(arena, leader);
    return { what: `the leader ${leader.name} cut off`, electing: followers, serves: true, heal };
  },
  "isolate-follower"(arena, { follower }) {
    const heal = isolate(arena, follower);
    return { what: `the follower ${follower.name} cut off`, electing: undefined, serves: true, heal };
  },
  "mute-leader"({ namespaces }, { leader, follower }) {
    namespaces!.cut(leader.ip, follower.ip);
    const what = `packets of the leader ${leader.name} to ${follower.name} lost`;
    return { what, electing: undefined, serves: true, heal: () => namespaces!.heal() };
  },
  "deafen-leader"({ namespaces }, { leader, followers }) {
    for (const follower of followers) namespaces!.cut(follower.ip, leader.ip);
    const what = `all packets to the leader ${leader.name} lost`;
    return { what, electing: followers, serves: true, heal: () => namespaces!.heal() };
  },
} satisfies Record<string, Strike>;

export type FaultName = keyof typeof PROCESS_FAULTS | keyof typeof NETWORK_FAULTS;

const FAULTS: Readonly<Record<FaultName, Strike>> = { ...PROCESS_FAULTS, ...NETWORK_FAULTS };

/** Does it to servers that agree on who leads. */
export async function strike(arena: Arena, fault: FaultName): Promise<Struck> {
  const { servers, random } = arena;
  const leader = await servers.leader();
  const followers = servers.all.filter((server) => server !== leader);
  return FAULTS[fault](arena, { leader, followers, follower: random.pick(followers) });
}

async function kill({ lives }: Server): Promise<void> {
  await lives.at(-1)!.kill("SIGKILL");
}

function signal({ lives }: Server, name: NodeJS.Signals): void {
  lives.at(-1)!.child.kill(name);
}

function isolate({ servers, namespaces }: Arena, server: Server): () => void {
  for (const other of servers.all) {
    if (other === server) continue;
    namespaces!.cut(server.ip, other.ip);
    namespaces!.cut(other.ip, server.ip);
  }
  return () => namespaces!.heal();
}
