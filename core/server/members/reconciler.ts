import type { AgentMember, Consensus, Logger, Membership, Peer } from "@drover/plugin-sdk";
import { Coalesced } from "../coalesced.js";
import { rpcAddress } from "./addresses.js";
import { serversOf } from "./bootstrap.js";
import type { Identity, ServerIdentity } from "./identity.js";
import type { MemberList } from "./member-list.js";

/** Milliseconds between two looks at all members. */
const INTERVAL = 10_000;
/** Milliseconds after a change of a member. */
const GATHERING = 50;
/** Milliseconds during which the same refusal is not made again. */
const QUIET = 60_000;

export interface ReconcilerParts {
  readonly consensus: Consensus;
  readonly members: Pick<MemberList, "members" | "subscribe">;
  readonly identity: Pick<ServerIdentity, "cluster" | "identify" | "refuse">;
  readonly region: string;
  readonly log: Logger;
  /** Milliseconds; default 10,000. */
  readonly interval?: number;
}

/**
 * Keeps the servers of consensus as the members are, while this server leads: one that joined is added without a vote
 * (autopilot gives it one), one that moved gets its new address, one that left is removed. What failed is autopilot's.
 */
export class MemberReconciler {
  readonly #turn: Coalesced;
  readonly #refused = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe: (() => void) | undefined;
  /** Which term of leadership a change belongs to; changes of an ended one are not begun. */
  #epoch = 0;

  constructor(private readonly parts: ReconcilerParts) {
    this.#turn = new Coalesced(
      GATHERING,
      () => this.#work(this.#epoch),
      (error) => parts.log.error({ error: text(error) }, "members could not be looked at; tried again"),
    );
  }

  /** On becoming leader. */
  start(): void {
    this.stop();
    const { consensus, members, interval } = this.parts;
    if (consensus.membership === undefined) return;
    this.#unsubscribe = members.subscribe(() => this.#turn.request());
    this.#timer = setInterval(() => this.#turn.request(), interval ?? INTERVAL).unref();
    this.#turn.request();
  }

  stop(): void {
    this.#epoch++;
    this.#turn.cancel();
    clearInterval(this.#timer);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#refused.clear();
  }

  async #work(epoch: number): Promise<void> {
    const { consensus, members, region, log } = this.parts;
    const servers = serversOf(members.members(), region);
    for (const member of servers) {
      if (epoch !== this.#epoch) return;
      const peer = consensus.peers().find(({ id }) => id === member.Tags.id);
      try {
        if (member.Status === "alive") await this.#alive(member, peer, epoch);
        else if (member.Status === "left" && peer !== undefined) await this.#left(member, peer, servers);
      } catch (error) {
        // One that can't be reached now is looked at again; the others don't wait for it.
        log.warn(
          { server: member.Name, error: text(error) },
          "the servers of the cluster could not be changed; tried again",
        );
      }
    }
  }

  async #alive(member: AgentMember, peer: Peer | undefined, epoch: number): Promise<void> {
    const { consensus, identity, log } = this.parts;
    const id = member.Tags.id!;
    const address = rpcAddress(member);
    if (peer?.address === address) return;
    const said = await identity.identify(address);
    if (said.id !== id) {
      log.debug({ server: member.Name, id: said.id }, "another server answers at the address of a member");
      return;
    }
    const why = peer === undefined ? this.#ofOtherCluster(said) : await this.#inUse(member, peer);
    if (why !== undefined) {
      await this.#refuse(address, member, why);
      return;
    }
    if (epoch !== this.#epoch) return;
    await (consensus.membership as Membership).addNonvoter(id, address);
    if (peer === undefined)
      log.info({ server: member.Name, id, address }, "server added, without a vote yet");
    else log.info({ server: member.Name, id, address, before: peer.address }, "server has another address");
  }

  /** A server of the cluster that has the member's id and still answers where it was. */
  async #inUse(member: AgentMember, peer: Peer): Promise<string | undefined> {
    const { consensus, identity } = this.parts;
    const isThere = peer.id === consensus.id || (await this.#answersAs(identity, peer));
    return isThere
      ? `server id ${peer.id} is in use by the server at ${peer.address}, which is alive: ${member.Name} must not have a copy of its data_dir (give it an empty one, or another node-id)`
      : undefined;
  }

  async #answersAs(identity: ReconcilerParts["identity"], peer: Peer): Promise<boolean> {
    try {
      return (await identity.identify(peer.address)).id === peer.id;
    } catch {
      // No answer is the answer: it is not there any more.
      return false;
    }
  }

  /** A stranger that has a log must have this cluster's: one that was removed and comes back. */
  #ofOtherCluster(said: Identity): string | undefined {
    const { identity } = this.parts;
    const own = identity.cluster();
    if (said.cluster === own || !said.bootstrapped) return undefined;
    const its = said.cluster === "" ? "a cluster that has no identifier yet" : `cluster ${said.cluster}`;
    return `${said.name} belongs to ${its}, and this is cluster ${own}: to take it in, stop it, empty its data_dir (its state is lost) and start it again`;
  }

  async #refuse(address: string, member: AgentMember, why: string): Promise<void> {
    const now = performance.now();
    for (const [key, at] of this.#refused) if (now - at > QUIET) this.#refused.delete(key);
    const key = `${address} ${why}`;
    if (this.#refused.has(key)) return;
    this.#refused.set(key, now);
    this.parts.log.error({ server: member.Name, address }, `a server is refused: ${why}`);
    await this.parts.identity.refuse(address, why);
  }

  async #left(member: AgentMember, peer: Peer, servers: readonly AgentMember[]): Promise<void> {
    const { consensus, log } = this.parts;
    // It may have come back under another name.
    const isBack = servers.some(({ Status, Tags }) => Status === "alive" && Tags.id === peer.id);
    if (isBack || peer.id === consensus.id) return;
    await (consensus.membership as Membership).remove(peer.id);
    log.info({ server: member.Name, id: peer.id, address: peer.address }, "server removed, it left");
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
