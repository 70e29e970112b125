/** Snapshots of the state as folders: a compacted copy of the LMDB environment and a manifest. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { StateTable } from "@drover/plugin-sdk";
import type { Database, RootDatabase } from "lmdb";
import { storageError } from "./errors.js";
import { DATA_FILE, openEnvironment } from "./read/environment.js";
import { LAYOUTS, openMeta, openRawTables, SCHEMA_VERSION, type Tables } from "./read/schema.js";
import type { StateStore } from "./store.js";

const MANIFEST = "manifest.json";
/** What a snapshot's folder holds; LMDB may leave a lock file beside them. */
export const SNAPSHOT_FILES: readonly string[] = [MANIFEST, DATA_FILE];
const FORMAT = 1;

interface Manifest {
  readonly format: number;
  readonly schema: number;
  readonly region: string;
  readonly index: number;
  /** Of the copy. */
  readonly bytes: number;
  readonly sha256: string;
}

/** Copies the state at one index while it goes on changing; gives that index. */
export async function writeSnapshot(store: StateStore, folder: string): Promise<number> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    await store.copyTo(folder);
  } catch (error) {
    throw storageError(error, folder);
  }
  const index = await withEnvironment(folder, (env) => openMeta(env).get("applied"));
  if (typeof index !== "number") throw new Error(`snapshot in ${folder} has no applied index`);
  const manifest: Manifest = {
    format: FORMAT,
    schema: SCHEMA_VERSION,
    region: store.region,
    index,
    ...(await measure(folder)),
  };
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 });
  return index;
}

/** What a snapshot's folder is a copy of. */
export interface SnapshotDescription {
  readonly region: string;
  readonly schema: number;
  readonly index: number;
  /** Rows of each table and the bytes that they take in the copy, whole pages. */
  readonly tables: readonly { readonly name: string; readonly rows: number; readonly bytes: number }[];
}

/**
 * Checks that `restore` will take the snapshot in `folder` in a cluster of `region`; throws, with what was found and what
 * was expected, for a damaged one and for one of another region or a newer schema version.
 */
export async function checkSnapshot(folder: string, region: string): Promise<SnapshotDescription> {
  const manifest = await readManifest(folder);
  const wrong = (what: string, found: unknown, expected: unknown): Error =>
    new Error(
      `snapshot in ${folder}: ${what} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
    );
  if (!(manifest.schema <= SCHEMA_VERSION)) throw wrong("schema version", manifest.schema, SCHEMA_VERSION);
  if (manifest.region !== region) throw wrong("region", manifest.region, region);
  const { bytes, sha256 } = await measure(folder);
  if (bytes !== manifest.bytes) throw wrong("size of the copy", bytes, manifest.bytes);
  if (sha256 !== manifest.sha256) throw wrong("SHA-256 of the copy", sha256, manifest.sha256);
  return withEnvironment(folder, (env) => {
    const raw = openRawTables(env);
    const applied = openMeta(env).get("applied");
    if (applied !== manifest.index) throw wrong("applied index of the copy", applied, manifest.index);
    const tables = (Object.keys(LAYOUTS) as (keyof Tables)[]).map((table) => ({
      name: LAYOUTS[table].name,
      ...sizeOf(raw[table]),
    }));
    return { region: manifest.region, schema: manifest.schema, index: manifest.index, tables };
  });
}

function sizeOf(table: Database<Uint8Array, Uint8Array> | undefined): { rows: number; bytes: number } {
  if (table === undefined) return { rows: 0, bytes: 0 };
  const stats = table.getStats() as Record<
    "entryCount" | "pageSize" | "treeBranchPageCount" | "treeLeafPageCount" | "overflowPages",
    number
  >;
  const pages = stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages;
  return { rows: stats.entryCount, bytes: pages * stats.pageSize };
}

/** Throws for a snapshot that this store can't take; gives the index at which it was taken. */
export async function verifySnapshot(store: StateStore, folder: string): Promise<number> {
  return (await checkSnapshot(folder, store.region)).index;
}

/**
 * Puts a snapshot in the place of the state: readers see the old state or the new one, and so does who starts after a crash.
 * `index` is the
 * log entry that this stands for, where the snapshot was taken in another log or earlier in this one; default, the index
 * of the snapshot. Throws, with nothing changed, for a damaged snapshot, for one of another region or a newer schema version,
 * and for an index before the snapshot's own, which its rows carry.
 */
export async function readSnapshot(store: StateStore, folder: string, index?: number): Promise<void> {
  const taken = await verifySnapshot(store, folder);
  const applied = index ?? taken;
  if (applied < taken) {
    throw new Error(
      `snapshot in ${folder}: it was taken at index ${taken} and can't be put in force at ${applied}, before that`,
    );
  }
  await store.replace(join(folder, DATA_FILE), (meta) => {
    meta.putSync("schema", SCHEMA_VERSION);
    if (applied === taken) return;
    meta.putSync("applied", applied);
    meta.putSync("restored", applied);
    // Every table is another one from here on, also for those who wait for a change of one that looks unchanged.
    const changed = Object.fromEntries(Object.values(StateTable).map((table) => [table, applied]));
    meta.putSync("tables", changed);
  });
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST);
  let manifest: Partial<Manifest>;
  try {
    manifest = JSON.parse(await readFile(path, "utf8")) as Partial<Manifest>;
  } catch (error) {
    throw new Error(`${path} is not a readable manifest of a state snapshot`, { cause: error });
  }
  if (manifest.format !== FORMAT) {
    throw new Error(`${path}: snapshot format is ${String(manifest.format)}, expected ${FORMAT}`);
  }
  return manifest as Manifest;
}

async function measure(folder: string): Promise<Pick<Manifest, "bytes" | "sha256">> {
  const path = join(folder, DATA_FILE);
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return { bytes: (await stat(path)).size, sha256: hash.digest("hex") };
}

async function withEnvironment<T>(folder: string, use: (env: RootDatabase) => T): Promise<T> {
  const env = openEnvironment({ path: folder, readOnly: true, durable: false });
  try {
    return use(env);
  } finally {
    await env.close();
  }
}
