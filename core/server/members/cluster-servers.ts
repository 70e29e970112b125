/** Everything by which this server finds the others of its cluster, becomes one of them, and leaves them. */
import type {
  AgentInfo,
  Consensus,
  Gossip,
  Logger,
  ServerDiscovery,
  ServerNetwork,
  StateReader,
} from "@drover/plugin-sdk";
import { Bootstrap, type BootstrapTimes } from "./bootstrap.js";
import { ServerIdentity } from "./identity.js";
import { Joining } from "./joining.js";
import { Leaving } from "./leaving.js";
import { gossipList, type MemberList } from "./member-list.js";
import { Members, type MembersTimes } from "./members.js";
import { MemberReconciler } from "./reconciler.js";
import { selfRecord } from "./self.js";

export interface ClusterServersParts {
  readonly agent: AgentInfo;
  readonly consensus: Consensus;
  readonly network: ServerNetwork;
  readonly state: StateReader;
  /** Takes the place of the own member list. */
  readonly gossip: Gossip | undefined;
  readonly discoveries: readonly ServerDiscovery[];
  readonly log: Logger;
  /** Times that differ from the defaults. */
  readonly times?: Partial<MembersTimes & BootstrapTimes> & { readonly reconcile?: number };
  fatal(error: Error): void;
}

export class ClusterServers {
  readonly list: MemberList;
  readonly identity: ServerIdentity;
  /** The leader's. */
  readonly reconciler: MemberReconciler;
  readonly leaving: Leaving;
  readonly #own: Members | undefined;
  readonly #bootstrap: Bootstrap;
  readonly #joining: Joining;

  constructor(private readonly parts: ClusterServersParts) {
    const { agent, consensus, network, state, gossip, discoveries, log, times = {} } = parts;
    const { region } = agent;
    const self = selfRecord(agent, consensus.id);
    const { name } = self;
    this.#own = gossip === undefined ? new Members(network, self, log, times) : undefined;
    this.list = gossip === undefined ? (this.#own as Members) : gossipList(gossip);
    this.identity = new ServerIdentity({ consensus, network, state, name, log });
    this.#bootstrap = new Bootstrap({
      consensus,
      network,
      members: this.list,
      region,
      name,
      address: agent.advertise.rpc,
      expect: agent.config.server.bootstrap_expect,
      log,
      times,
    });
    this.#joining = new Joining({
      members: this.list,
      discoveries,
      settings: agent.config.server.server_join,
      // Gossip has ports of its own, and remembers by itself.
      peers: () => (gossip === undefined ? othersOf(consensus) : []),
      name,
      log,
      fatal: parts.fatal,
    });
    this.reconciler = new MemberReconciler({
      consensus,
      members: this.list,
      identity: this.identity,
      region,
      log,
      ...(times.reconcile === undefined ? {} : { interval: times.reconcile }),
    });
    this.leaving = new Leaving({ consensus, network, members: this.list, name, log });
  }

  /** After consensus was started. Rejects when none of the servers of `start_join` answers. */
  async start(): Promise<void> {
    const { agent, consensus, gossip } = this.parts;
    this.identity.start();
    this.leaving.start();
    if (gossip === undefined) this.#own!.start();
    else await gossip.setTags(selfRecord(agent, consensus.id).tags);
    await this.#bootstrap.start();
    await this.#joining.start();
  }

  async stop(): Promise<void> {
    this.#bootstrap.stop();
    await this.#joining.stop();
    this.#own?.stop();
    this.leaving.stop();
    this.identity.stop();
  }
}

function othersOf(consensus: Consensus): string[] {
  return consensus
    .peers()
    .filter(({ id }) => id !== consensus.id)
    .map(({ address }) => address);
}
