import { voters } from "../../plugins/consensus-raft/core/configuration.js";
import { RaftCore, type RaftOptions, type RaftState } from "../../plugins/consensus-raft/core/raft-core.js";
import type { Refusal } from "../../plugins/consensus-raft/core/types.js";
import type { DiskBugs } from "./disk.js";

/** Bugs that can be planted, to see that the checks find them. */
export const PLANTS = {
  "commit-older-term": "a leader commits entries of earlier terms by counting servers",
  "skip-fsync": "the disk says that a write is durable while it is not",
  "ignore-pre-vote": "a server stands for election without asking whether it could win",
  "stale-read": "a leader answers reads without asking whether it still leads",
  "forget-vote": "a server does not know after a restart whom it voted for",
  "promise-before-fsync": "votes and acceptances leave before they are durable",
  "ignore-checksum": "torn records are read back as if they were whole",
  "double-membership-change": "servers are changed before the last change is committed",
  "restore-without-copy": "a server takes a restore entry before it has the copy",
} as const;

export type Plant = keyof typeof PLANTS;

/** How a history's servers are built; without a plant, from what is shipped. */
export interface Construction {
  readonly plant: Plant | null;
  core(options: RaftOptions, state: RaftState): RaftCore;
  readonly disk: DiskBugs;
}

class CommitsOlderTerms extends RaftCore {
  protected override countsForCommit(): boolean {
    return true;
  }
}

class ChangesMembersAtAnyTime extends RaftCore {
  protected override refusalOfChange(): Refusal | null {
    return null;
  }
}

/** Makes up the answers to its own pre-vote. */
class NeedsNoPreVote extends RaftCore {
  override campaign(): void {
    super.campaign();
    for (const from of voters(this.configuration)) {
      if (this.role !== "pre-candidate") return;
      const term = this.term + 1;
      this.step({ type: "vote-response", pre: true, granted: true, from, to: this.id, term });
    }
  }
}

export function construction(plant: Plant | null): Construction {
  return {
    plant,
    core: (options, state) => {
      if (plant === "commit-older-term") return new CommitsOlderTerms(options, state);
      if (plant === "double-membership-change") return new ChangesMembersAtAnyTime(options, state);
      if (plant === "ignore-pre-vote") return new NeedsNoPreVote(options, state);
      return new RaftCore(options, state);
    },
    disk: {
      skipFsync: plant === "skip-fsync",
      forgetVote: plant === "forget-vote",
      ignoreChecksum: plant === "ignore-checksum",
    },
  };
}
