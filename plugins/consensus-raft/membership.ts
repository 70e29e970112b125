import { randomUUID } from "node:crypto";
import { type Membership, NotLeaderError, type Peer } from "@drover/plugin-sdk";
import { isVoter } from "./core/configuration.js";
import type { Configuration, ConfigurationChange, Refusal, Server } from "./core/types.js";
import type { RaftLoop } from "./raft-loop.js";

export interface MembershipParts {
  self(): string;
  /** What runs; undefined on a server that is not started. */
  running(): { readonly loop: RaftLoop } | undefined;
  /** The running loop on the leader; throws `NotLeaderError` elsewhere. */
  leading(): RaftLoop;
  leader(): Peer | undefined;
  /** Called when a change of the configuration was made by this server. */
  changed(): void;
}

/** Changes of the configuration, one at a time and each committed before the next. */
export class RaftMembership implements Membership {
  #last: Promise<unknown> = Promise.resolve();

  constructor(private readonly parts: MembershipParts) {}

  bootstrapped(): boolean {
    return (this.parts.running()?.loop.core.configuration.servers.length ?? 0) > 0;
  }

  async bootstrap(servers: readonly { readonly id: string; readonly address: string }[]): Promise<void> {
    const running = this.parts.running();
    if (running === undefined) throw new Error("consensus-raft begins a cluster only after it has started");
    const self = this.parts.self();
    const configuration: Configuration = {
      cluster: randomUUID(),
      servers: servers.map(({ id, address }) => ({ id, address, voter: true })),
    };
    checkServers(configuration.servers);
    await running.loop.bootstrap(configuration, (refused) =>
      refused === "not-empty"
        ? new Error("this server belongs to a cluster already; it can't begin another one")
        : new Error(`this server, ${self}, is not among the servers of the new cluster`),
    );
    this.parts.changed();
  }

  addNonvoter(id: string, address: string): Promise<number> {
    return this.#change((configuration) => {
      checkServers([...configuration.servers.filter((server) => server.id !== id), { id, address }]);
      return { type: "add", server: { id, address, voter: isVoter(configuration, id) } };
    });
  }

  promote(id: string): Promise<number> {
    return this.#change((configuration) => ({
      type: "add",
      server: { ...known(configuration, id), voter: true },
    }));
  }

  demote(id: string): Promise<number> {
    return this.#change((configuration) => ({
      type: "add",
      server: { ...known(configuration, id), voter: false },
    }));
  }

  remove(id: string): Promise<number> {
    return this.#change((configuration) => ({ type: "remove", id: known(configuration, id).id }));
  }

  /** A change waits for the one before it, of this leader or an earlier one: both may not be uncommitted at once. */
  #change(make: (configuration: Configuration) => ConfigurationChange): Promise<number> {
    const change = this.#last.then(async () => {
      await this.parts.leading().barrier();
      const loop = this.parts.leading();
      const wanted = make(loop.core.configuration);
      if (!changes(loop.core.configuration, wanted)) return loop.core.commit;
      const committed = loop.proposeConfiguration(wanted, (refused) => this.#refusal(refused, wanted));
      this.parts.changed();
      return committed;
    });
    this.#last = change.catch(() => undefined);
    return change;
  }

  #refusal(refused: Refusal, change: ConfigurationChange): Error {
    const id = change.type === "add" ? change.server.id : change.id;
    switch (refused) {
      case "not-leader":
        return new NotLeaderError(this.parts.leader());
      case "last-voter":
        return new Error(`server ${id} is the only voter; give another server a vote first`);
      case "unknown-server":
        return unknownServer(id);
      default:
        return new Error(`the raft configuration can't be changed now (${refused}); try again`);
    }
  }
}

/** Throws for servers that can't make up a cluster. */
export function checkServers(servers: readonly Pick<Server, "id" | "address">[]): void {
  const ids = new Set<string>();
  const addresses = new Map<string, string>();
  for (const { id, address } of servers) {
    if (id === "") throw new Error(`the server at ${address} has no id`);
    if (!/^(\[[0-9a-f:.%]+\]|[^\s:[\]]+):\d{1,5}$/i.test(address)) {
      throw new Error(`the address of server ${id} must be host:port, and is "${address}"`);
    }
    if (ids.has(id)) throw new Error(`server ${id} is named twice`);
    const other = addresses.get(address);
    if (other !== undefined)
      throw new Error(`${address} is the address of server ${other}, and of ${id} too`);
    ids.add(id);
    addresses.set(address, id);
  }
}

function changes(configuration: Configuration, change: ConfigurationChange): boolean {
  if (change.type === "remove") return true;
  const { id, address, voter } = change.server;
  const present = configuration.servers.find((server) => server.id === id);
  return present === undefined || present.address !== address || present.voter !== voter;
}

function known(configuration: Configuration, id: string): Server {
  const server = configuration.servers.find((candidate) => candidate.id === id);
  if (server === undefined) throw unknownServer(id);
  return server;
}

function unknownServer(id: string): Error {
  return new Error(`no server ${id} is in the raft configuration`);
}
