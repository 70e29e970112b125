import { type Consensus, EndpointError } from "@drover/plugin-sdk";
import { type Hold, within } from "./hold.js";
import type { TermBarrier } from "./term-barrier.js";

/**
 * How new this server's state is. Reads are made where they are asked for: a follower first learns from the leader how far the
 * log is committed and waits until it has applied that much (read index, Raft dissertation section 6.4), so no read is forwarded.
 */
export class Consistency {
  constructor(
    private readonly consensus: Consensus,
    private readonly barrier: TermBarrier,
    private readonly hold: Hold,
  ) {}

  /**
   * Resolves once the state holds everything that was acknowledged before the call. The leader's does; with `confirmed` it
   * makes sure first that it still leads. Rejects with EndpointError 500 `No cluster leader` after the hold's time.
   */
  async catchUp(confirmed: boolean): Promise<void> {
    if (!confirmed && this.barrier.passed) return;
    const held = this.hold.begin();
    for (;;) {
      if (this.consensus.leader() !== undefined) {
        try {
          await within(held.left(), this.consensus.barrier());
          return;
        } catch (error) {
          // Out of time; anything else is a leader that went away, and another one may come.
          if (error instanceof EndpointError) throw error;
        }
      }
      await held.pause();
    }
  }

  /** Milliseconds since this server heard of the leader: 0 where it leads, null while it never did. */
  lastContact(): number | null {
    if (this.consensus.isLeader()) return 0;
    // As Nomad prints it: `never`, or `12ms`.
    const contact = /^(\d+)(?:ms)?$/.exec(String(this.consensus.stats().last_contact ?? ""));
    return contact === null ? null : Number(contact[1]);
  }
}
