/** Opening of the LMDB environment that holds the state. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import { MAX_DATABASES, MAX_READERS } from "./schema.js";

/** Address space that is set aside for the state; memory and disk are only used as far as there is data. */
const MINIMUM_MAP = 64 * 1024 ** 3;
/** How far above its present size the state may grow until it is opened again. */
const MAP_GROWTH = 8;

/** Name of LMDB's data file inside the environment's folder. */
export const DATA_FILE = "data.mdb";
/** And of the file by which processes and threads share it. */
export const LOCK_FILE = "lock.mdb";

export interface EnvironmentOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** Wait for the disk at each commit. Off where the raft log is the durable truth. */
  readonly durable: boolean;
}

export function openEnvironment({ path, readOnly, durable }: EnvironmentOptions): RootDatabase {
  const file = join(path, DATA_FILE);
  const size = existsSync(file) ? statSync(file).size : 0;
  return open({
    path,
    readOnly,
    noSubdir: false,
    maxDbs: MAX_DATABASES,
    maxReaders: MAX_READERS,
    mapSize: Math.max(MINIMUM_MAP, size * MAP_GROWTH),
    overlappingSync: false,
    noSync: !durable,
  });
}
