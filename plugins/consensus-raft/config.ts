import { z } from "zod";

const MEBIBYTE = 1024 * 1024;
const count = (fallback: number, minimum = 1) => z.int().min(minimum).default(fallback);

/** The operator's `plugin "consensus-raft" { config { … } }` block. Durations are milliseconds, sizes are bytes. */
export const RaftConfig = z.strictObject({
  /** Applied entries after which a snapshot is taken. */
  snapshot_threshold: count(8192),
  /** Applied bytes after which a snapshot is taken, however short ago the last one was; bounds the log's memory. */
  snapshot_bytes: count(64 * MEBIBYTE),
  /** Least time between two snapshots that are taken for their number of entries. */
  snapshot_interval: count(120_000, 0),
  /** Entries kept before a snapshot, for servers that are a little behind. */
  trailing_logs: count(10_240, 0),
  /** Bytes kept before a snapshot at most. */
  trailing_bytes: count(16 * MEBIBYTE, 0),
  /** Length of a tick, in which elections and heartbeats are counted. */
  tick_interval: count(100, 10),
  /** Ticks without a leader before an election (up to twice as many, at random). */
  election_ticks: count(10, 2),
  /** Between two heartbeats. Autopilot's LastContactThreshold (200 ms) must be longer. */
  heartbeat_ticks: count(1),
  /** Largest command. */
  max_command_bytes: count(8 * MEBIBYTE),
  /** Proposals under way; more are refused with ERR_CONSENSUS_BUSY. */
  max_inflight: count(8192),
  /** Bytes of proposals under way. */
  max_inflight_bytes: count(64 * MEBIBYTE),
  /** Free space below which proposals are refused, so that the state store has room for what was accepted. */
  min_free_bytes: count(32 * MEBIBYTE, 0),
});
export type RaftConfig = z.output<typeof RaftConfig>;
