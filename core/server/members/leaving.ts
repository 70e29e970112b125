/** How a server leaves its cluster for good, so that the others need not wait for it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Consensus, Logger, ServerNetwork } from "@drover/plugin-sdk";
import { EndpointError, NotLeaderError } from "@drover/plugin-sdk";
import { z } from "zod";
import { withDeadline } from "../../kernel/deadline.js";
import type { MemberList } from "./member-list.js";
import { decodeBody, encodeBody, MEMBERS_PROTOCOL } from "./member-record.js";

const REMOVE = "Members.Remove";
/** Milliseconds for all of it. */
const DEADLINE = 5_000;
/** Milliseconds between two tries to find a leader that does it. */
const RETRY = 100;

const removeSchema = z.object({
  version: z.number(),
  id: z.string().min(1).max(128),
  name: z.string().max(300),
});

export interface LeavingParts {
  readonly consensus: Consensus;
  readonly network: ServerNetwork;
  readonly members: Pick<MemberList, "leave">;
  /** `<node>.<region>` of this server. */
  readonly name: string;
  readonly log: Logger;
  /** Milliseconds; default 5,000. */
  readonly deadline?: number;
}

/** Leaves the cluster, and removes others that ask for it. */
export class Leaving {
  #unhandle: (() => void) | undefined;

  constructor(private readonly parts: LeavingParts) {}

  start(): void {
    const { network } = this.parts;
    this.#unhandle = network.handle(REMOVE, async (body) => {
      await this.#onRemove(decodeBody(removeSchema, body, REMOVE));
      return new Uint8Array(0);
    });
  }

  stop(): void {
    this.#unhandle?.();
    this.#unhandle = undefined;
  }

  /**
   * Leaves: hands leadership on, has the leader remove this server, and says so to the others. Bounded; what could not be done
   * in time is logged, and the others see a server that failed. The last server of a cluster just stops.
   */
  async leave(): Promise<void> {
    const { consensus, members, log } = this.parts;
    const until = performance.now() + (this.parts.deadline ?? DEADLINE);
    if (consensus.membership !== undefined && this.#hasOtherVoters()) {
      try {
        await this.#beRemoved(until);
        log.info({}, "this server left its cluster");
      } catch (error) {
        log.error(
          { error: text(error) },
          "this server could not leave its cluster in time; remove it with drover operator raft remove-peer",
        );
      }
    }
    await members.leave();
  }

  /** Hands leadership on where this server leads and others can; bounded, and no failure stops a server from stopping. */
  async handOver(deadline: number): Promise<void> {
    const { consensus, log } = this.parts;
    if (!consensus.isLeader() || !this.#hasOtherVoters()) return;
    try {
      await withDeadline(Math.max(1, deadline), "handing on leadership", () =>
        consensus.transferLeadership(),
      );
      log.info({ leader: consensus.leader()?.address ?? "" }, "leadership handed on");
    } catch (error) {
      log.warn({ error: text(error) }, "leadership could not be handed on; the others elect a leader");
    }
  }

  async #beRemoved(until: number): Promise<void> {
    const { consensus } = this.parts;
    await this.handOver((until - performance.now()) / 2);
    if (consensus.isLeader()) {
      await withDeadline(Math.max(1, until - performance.now()), "the removal", () =>
        consensus.membership!.remove(consensus.id),
      );
      return;
    }
    let why = new Error("there is no leader");
    while (performance.now() < until) {
      const leader = consensus.leader();
      if (leader !== undefined && leader.id !== consensus.id) {
        try {
          await this.#ask(leader.address, until - performance.now());
          return;
        } catch (error) {
          why = error instanceof Error ? error : new Error(String(error));
        }
      }
      await sleep(RETRY);
    }
    throw why;
  }

  async #ask(address: string, deadline: number): Promise<void> {
    const { consensus, network, name } = this.parts;
    const body = encodeBody({ version: MEMBERS_PROTOCOL, id: consensus.id, name });
    await network.call(address, REMOVE, body, { deadline: Math.max(1, deadline) });
  }

  async #onRemove({ id, name }: z.output<typeof removeSchema>): Promise<void> {
    const { consensus, log } = this.parts;
    if (!consensus.isLeader() || consensus.membership === undefined)
      throw new NotLeaderError(consensus.leader());
    if (id === consensus.id) throw new EndpointError(400, `${id} is the leader's own id`);
    // Asked twice, for an answer that was lost: it is out.
    if (!consensus.peers().some((peer) => peer.id === id)) return;
    await consensus.membership.remove(id);
    log.info({ server: name, id }, "server removed, it leaves");
  }

  #hasOtherVoters(): boolean {
    const { consensus } = this.parts;
    return consensus.peers().some(({ id, voter }) => voter && id !== consensus.id);
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
