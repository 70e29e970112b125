import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { decodeMeta, encodeMeta, LogDamagedError } from "@drover/plugin-sdk/consensus";
import { z } from "zod";
import { changedAt, type EtcdClient, put, read, readRange } from "./client.js";
import type { Keys } from "./keys.js";
import { ClusterRecord, decodeRecord, encodeRecord } from "./records.js";

const FORMAT = 1;

/** What this server remembers of etcd: which cluster it took part in, and a revision that etcd had reached. */
const Mark = z.object({ cluster: z.uuid(), revision: z.int().min(0) });
export type Mark = z.output<typeof Mark>;

export interface JoinParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly region: string;
  /** Where the mark is kept. */
  readonly file: string;
  readonly lastApplied: number;
}

/**
 * Finds the cluster below the prefix, or begins it where the prefix is empty. Rejects when this server belongs to another
 * one. Gives what the key `cluster` holds, which is compared from now on, and the mark.
 */
export async function joinCluster(
  parts: JoinParts,
): Promise<{ readonly value: Buffer; readonly mark: Mark }> {
  const { client, keys, region, file, lastApplied } = parts;
  const mark = await readMark(file);
  if (mark === undefined && lastApplied > 0) {
    throw new LogDamagedError(
      `the state in this data folder has applied entry ${lastApplied} of another log than the one in etcd (${file} is missing). Save a snapshot with the engine that wrote it, start with an empty data folder, and restore the snapshot`,
    );
  }
  let found = await look(client, keys);
  if (found.value === undefined) {
    if (mark !== undefined) {
      throw new LogDamagedError(
        `etcd has no Drover cluster below ${keys.root.start}, and this server took part in ${mark.cluster}: etcd was wiped, or prefix or region have changed. Restore etcd from a backup, or start with an empty data folder`,
      );
    }
    if (found.isTaken) {
      throw new LogDamagedError(
        `etcd has keys below ${keys.root.start} that are not of a Drover cluster; set another prefix in consensus-etcd`,
      );
    }
    const record = encodeRecord({ format: FORMAT, id: randomUUID(), region });
    // Another server may be faster, and an attempt without an answer may have been carried out: what is there counts.
    await client.transaction([changedAt(keys.cluster, 0)], [put(keys.cluster, record)]);
    found = await look(client, keys);
    if (found.value === undefined) throw new LogDamagedError(`${keys.cluster} in etcd was removed at once`);
  }
  const { format, id, region: home } = decodeRecord(ClusterRecord, keys.cluster, found.value);
  if (format !== FORMAT) {
    throw new LogDamagedError(
      `the cluster below ${keys.root.start} in etcd has format ${format}, and this version of Drover knows ${FORMAT}; run the newer version`,
    );
  }
  if (home !== region) {
    throw new LogDamagedError(
      `the cluster below ${keys.root.start} in etcd is of region "${home}", and this server is of "${region}"; set another prefix in consensus-etcd`,
    );
  }
  if (mark !== undefined && mark.cluster !== id) {
    throw new LogDamagedError(
      `the cluster below ${keys.root.start} in etcd is ${id}, and this server belongs to ${mark.cluster}; set the prefix that belongs to it, or start with an empty data folder`,
    );
  }
  checkRevision(keys, mark?.revision ?? 0, found.revision);
  const next = { cluster: id, revision: found.revision };
  await writeMark(file, next);
  return { value: found.value, mark: next };
}

/** Throws when etcd is older than it was. */
export function checkRevision(keys: Keys, known: number, found: number): void {
  if (found >= known) return;
  throw new LogDamagedError(
    `etcd is at revision ${found}, and this server has seen ${known}: it was wiped, or restored from an older backup, and entries below ${keys.root.start} that were acknowledged may be gone. Restore a newer backup; or start with empty data folders to go on from what is there`,
  );
}

async function look(
  client: EtcdClient,
  keys: Keys,
): Promise<{ readonly value: Buffer | undefined; readonly isTaken: boolean; readonly revision: number }> {
  const { reads, revision } = await client.transaction([], [read(keys.cluster), readRange(keys.root, 1)]);
  return { value: reads[0]![0]?.value, isTaken: reads[1]!.length > 0, revision };
}

async function readMark(file: string): Promise<Mark | undefined> {
  let content: Buffer;
  try {
    content = await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return Mark.parse(decodeMeta(content));
  } catch (error) {
    throw new LogDamagedError(
      `${file} can't be read (${(error as Error).message}); restore it, or start with an empty data folder`,
      { cause: error },
    );
  }
}

export async function writeMark(file: string, mark: Mark): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(encodeMeta(mark));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
