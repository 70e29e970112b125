import { voters } from "./core/configuration.js";
import type { RaftCore } from "./core/raft-core.js";
import type { Configuration, SnapshotMeta } from "./core/types.js";

/** Servers are known by their ids, as in Nomad's Raft protocol 3. */
const PROTOCOL = 3;

export interface RaftStatus {
  readonly core: RaftCore;
  readonly leading: boolean;
  /** Last entry that the state machine applied. */
  readonly applied: number;
  readonly proposals: number;
  readonly snapshot: SnapshotMeta | null;
  /** Milliseconds since the leader was heard; null when no leader is known or it was not heard. */
  readonly leaderContact: number | null;
}

/** The keys of Nomad's `raft` stats. */
export function raftStats(status: RaftStatus): Readonly<Record<string, string | number>> {
  const { core, leading, applied, proposals, snapshot, leaderContact } = status;
  return {
    applied_index: applied,
    commit_index: core.commit,
    fsm_pending: Math.max(0, core.commit - applied),
    last_contact: leading ? 0 : leaderContact === null ? "never" : `${Math.round(leaderContact)}ms`,
    last_log_index: core.lastIndex,
    last_log_term: core.entryTerm(core.lastIndex) ?? 0,
    last_snapshot_index: snapshot?.index ?? 0,
    last_snapshot_term: snapshot?.term ?? 0,
    latest_configuration: describeConfiguration(core.configuration),
    latest_configuration_index: core.configurationIndex,
    num_peers: voters(core.configuration).filter((id) => id !== core.id).length,
    proposals_pending: proposals,
    protocol_version: PROTOCOL,
    state: leading ? "Leader" : core.role === "follower" ? "Follower" : "Candidate",
    term: core.term,
  };
}

/** As Nomad writes it. */
function describeConfiguration({ servers }: Configuration): string {
  const list = servers.map(
    ({ id, address, voter }) => `{Suffrage:${voter ? "Voter" : "Nonvoter"} ID:${id} Address:${address}}`,
  );
  return `[${list.join(" ")}]`;
}
