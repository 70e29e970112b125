import { NotLeaderError, type Peer } from "@drover/plugin-sdk";
import type { RaftCore } from "./core/raft-core.js";
import type { Leadership, Refusal } from "./core/types.js";

/** A handover of leadership that somebody waits for. */
export class Handover {
  #to: string | undefined;
  #settle: { resolve(): void; reject(error: Error): void } | undefined;
  /** Ticks without any leader after which the wait is given up. */
  #patience = 0;

  constructor(private readonly electionTicks: number) {}

  /** Asks the core to hand over; resolves when the other server leads. */
  begin(core: RaftCore, id: string | undefined, leader: Peer | undefined): Promise<void> {
    const outcome = core.transferLeadership(id);
    if ("refused" in outcome) return Promise.reject(refusalError(outcome.refused, id, leader));
    this.#to = outcome.to;
    // The core gives up after one election timeout; an election without a winner is tried again within two more.
    this.#patience = 4 * this.electionTicks;
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  led({ leader, role }: Leadership): void {
    if (role === "leader" || leader === null) return;
    if (leader === this.#to) this.#end()?.resolve();
    else this.#end()?.reject(new Error(`server ${leader} was elected, and not ${this.#to}`));
  }

  aborted(id: string): void {
    this.#end()?.reject(
      new Error(
        `server ${id} did not take over leadership within an election timeout; this server still leads`,
      ),
    );
  }

  tick(): void {
    if (this.#settle === undefined || --this.#patience > 0) return;
    this.#end()?.reject(new Error(`leadership was given up for server ${this.#to}, and no server leads yet`));
  }

  stop(error: Error): void {
    this.#end()?.reject(error);
  }

  #end(): { resolve(): void; reject(error: Error): void } | undefined {
    const settle = this.#settle;
    this.#settle = undefined;
    return settle;
  }
}

function refusalError(refused: Refusal, id: string | undefined, leader: Peer | undefined): Error {
  switch (refused) {
    case "not-leader":
      return new NotLeaderError(leader);
    case "unknown-server":
      return new Error(`no server ${id} is in the raft configuration`);
    case "not-a-candidate":
      return new Error(
        id === undefined
          ? "there is no other voter to hand leadership to"
          : `server ${id} can't take over leadership: it leads already, or has no vote`,
      );
    default:
      return new Error(`leadership can't be handed over now (${refused}); try again`);
  }
}
