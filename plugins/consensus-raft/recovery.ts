import type { Logger, StateMachine } from "@drover/plugin-sdk";
import {
  LogDamagedError,
  type RestoreStore,
  type SnapshotStore,
  type StoredSnapshot,
} from "@drover/plugin-sdk/consensus";
import { decodeConfiguration } from "./core/configuration.js";
import type { RaftState } from "./core/raft-core.js";
import { decodeRestore } from "./core/restore.js";
import type { Configuration, Entry, SnapshotMeta } from "./core/types.js";
import type { LogStore, StoredLog } from "./log-store.js";
import { explainPeersFile, readPeersFile, removePeersFile } from "./peers-file.js";

/**
 * Opens everything that a server left on its disk, and brings the machine to where the log can go on. Gives what the core
 * starts from; its entries count into `since`, what was applied since the newest snapshot, while the core goes through them.
 */
export async function openLog(
  self: string,
  machine: StateMachine,
  store: LogStore,
  snapshots: SnapshotStore<SnapshotMeta>,
  restores: RestoreStore,
  log: Logger,
): Promise<{ readonly state: RaftState; readonly since: { entries: number; bytes: number } }> {
  let stored = await store.open(self);
  await snapshots.open();
  if (store.folder !== undefined) {
    stored = await recoverConfiguration(store.folder, self, stored, store, snapshots, log);
  }
  for (const { kind, index, data } of stored.entries) {
    if (kind === "restore") restores.note(index, decodeRestore(data).id);
  }
  await restores.open();
  const snapshot = (await recover(machine, stored, store, snapshots, log))?.meta ?? null;
  const applied = machine.lastApplied();
  const since = { entries: 0, bytes: 0 };
  const entries = observed(stored.entries, ({ index, data }) => {
    if (index <= (snapshot?.index ?? 0) || index > applied) return;
    since.entries++;
    since.bytes += data.length;
  });
  return { state: { ...stored, base: named(stored.base), entries, snapshot, applied }, since };
}

/** Clusters of one server, from before they had names, go by that server's id. */
function named(base: SnapshotMeta): SnapshotMeta {
  const { cluster, servers } = base.configuration;
  const [first] = servers;
  if (cluster !== undefined || first === undefined) return base;
  return { ...base, configuration: { cluster: first.id, servers } };
}

/** The same entries, each shown to `see` on its way. */
function* observed(entries: Iterable<Entry>, see: (entry: Entry) => void): Iterable<Entry> {
  for (const entry of entries) {
    see(entry);
    yield entry;
  }
}

/**
 * Makes the servers of `peers.json` in the log's folder the configuration, where an operator put that file there, and removes
 * it. Nothing is committed by that: the servers elect the one among them whose log is longest, as always. Each step may be
 * repeated, so that a crash in between is mended by the next start.
 */
async function recoverConfiguration(
  folder: string,
  self: string,
  stored: StoredLog,
  store: LogStore,
  snapshots: SnapshotStore<SnapshotMeta>,
  log: Logger,
): Promise<StoredLog> {
  await explainPeersFile(folder);
  const servers = await readPeersFile(folder, self);
  if (servers === undefined) return stored;
  if (stored.last === 0) {
    throw new Error(
      `${folder} has a peers.json, but this server was never part of a cluster: there is nothing to recover. Remove the file`,
    );
  }
  const cluster = newestConfiguration(stored).cluster;
  const configuration = { ...(cluster === undefined ? {} : { cluster }), servers };
  log.warn(
    { servers: servers.map(({ id, address, voter }) => `${id} ${address}${voter ? "" : " (no vote)"}`) },
    "peers.json takes the place of the raft configuration",
  );
  await snapshots.describeAnew({ configuration });
  const changed = await store.reconfigure(configuration);
  await removePeersFile(folder);
  return changed;
}

function newestConfiguration({ base, entries }: StoredLog): Configuration {
  let { configuration } = base;
  for (const entry of entries) {
    if (entry.kind === "configuration") configuration = decodeConfiguration(entry.data);
  }
  return configuration;
}

/**
 * Brings the machine to a point from which the log can go on: nothing to do after a crash of the process; after a loss of
 * the state store, the newest whole snapshot that the log still follows. Gives the newest snapshot, if there is any.
 */
async function recover(
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
