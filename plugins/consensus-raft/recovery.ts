import type { Logger, StateMachine } from "@drover/plugin-sdk";
import { LogDamagedError, type SnapshotStore, type StoredSnapshot } from "@drover/plugin-sdk/consensus";
import type { SnapshotMeta } from "./core/types.js";
import type { LogStore, StoredLog } from "./log-store.js";

/**
 * Brings the machine to a point from which the log can go on: nothing to do after a crash of the process; after a loss of
 * the state store, the newest whole snapshot that the log still follows. Gives the newest snapshot, if there is any.
 */
export async function recover(
  machine: StateMachine,
  stored: StoredLog,
  store: LogStore,
  snapshots: SnapshotStore<SnapshotMeta>,
  log: Logger,
): Promise<StoredSnapshot<SnapshotMeta> | null> {
  const available = await snapshots.list();
  const { last } = stored;
  if (machine.lastApplied() > last) {
    throw new LogDamagedError(
      `the state has applied entry ${machine.lastApplied()}, but the raft log in ${store.location} ends at ${last}; the log was replaced or lost. Restore both from one backup`,
    );
  }
  if (machine.lastApplied() >= stored.base.index) return available[0] ?? null;
  const usable = available.filter(({ meta }) => meta.index >= stored.base.index && meta.index <= last);
  for (const snapshot of usable) {
    try {
      await snapshots.verify(snapshot);
    } catch (error) {
      log.error(
        { folder: snapshot.state, error: (error as Error).message },
        "snapshot is damaged; trying an older one",
      );
      continue;
    }
    log.info({ folder: snapshot.state, index: snapshot.meta.index }, "restoring the state from a snapshot");
    await machine.restore(snapshot.state, snapshot.meta.index);
    if (machine.lastApplied() !== snapshot.meta.index) {
      throw new Error(
        `the state restored from ${snapshot.state} is at entry ${machine.lastApplied()} instead of ${snapshot.meta.index}`,
      );
    }
    return snapshot;
  }
  throw new LogDamagedError(
    `the state has applied entry ${machine.lastApplied()}, the raft log in ${store.location} starts after ${stored.base.index}, and no whole snapshot fills the gap. Restore this server's data folder from a backup`,
  );
}
