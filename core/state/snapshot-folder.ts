/** Snapshots of the state as folders: a compacted copy of the LMDB environment and a manifest. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { StateTable } from "@drover/plugin-sdk";
import { asBinary, type Database, type Key, type RootDatabase } from "lmdb";
import { storageError } from "./errors.js";
import { DATA_FILE, openEnvironment } from "./read/environment.js";
import { LAYOUTS, openRawTables, openTables, SCHEMA_VERSION, type Tables } from "./read/schema.js";
import type { StateStore } from "./store.js";

const MANIFEST = "manifest.json";
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
    await store.env.backup(folder, true);
  } catch (error) {
    throw storageError(error, folder);
  }
  const index = await withEnvironment(folder, (env) => openTables(env).meta.get("applied"));
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

/**
 * Replaces all rows with those of a snapshot, in one transaction: readers see the old state or the new one. `index` is the
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
  await withEnvironment(folder, (source) => {
    try {
      copyAll(source, store, applied === taken ? undefined : applied);
    } catch (error) {
      throw storageError(error, store.path);
    }
  });
  store.replaced();
}

/** Throws for a snapshot that this store can't take; gives the index at which it was taken. */
export async function verifySnapshot(store: StateStore, folder: string): Promise<number> {
  const manifest = await readManifest(folder);
  const wrong = (what: string, found: unknown, expected: unknown): Error =>
    new Error(
      `snapshot in ${folder}: ${what} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
    );
  if (!(manifest.schema <= SCHEMA_VERSION)) throw wrong("schema version", manifest.schema, SCHEMA_VERSION);
  if (manifest.region !== store.region) throw wrong("region", manifest.region, store.region);
  const { bytes, sha256 } = await measure(folder);
  if (bytes !== manifest.bytes) throw wrong("size of the copy", bytes, manifest.bytes);
  if (sha256 !== manifest.sha256) throw wrong("SHA-256 of the copy", sha256, manifest.sha256);
  if (!Number.isSafeInteger(manifest.index)) throw wrong("index", manifest.index, "a number");
  return manifest.index;
}

/** Copies rows as bytes, without decoding any. With `index`, everything counts as changed there. */
function copyAll(source: RootDatabase, store: StateStore, index: number | undefined): void {
  const from = openRawTables(source);
  const generation = (store.tables.meta.get("generation") as number | undefined) ?? 0;
  store.env.transactionSync(() => {
    for (const table of Object.keys(LAYOUTS) as (keyof Tables)[]) {
      copyTable(from[table], store.tables[table] as Database<unknown, Key>);
    }
    // Readers that remember blocks of plans must learn that the same index may now mean another plan.
    store.tables.meta.putSync("generation", generation + 1);
    store.tables.meta.putSync("schema", SCHEMA_VERSION);
    if (index === undefined) return;
    store.tables.meta.putSync("applied", index);
    // Every table is another one from here on, also for those who wait for a change of one that looks unchanged.
    const changed = Object.fromEntries(Object.values(StateTable).map((table) => [table, index]));
    store.tables.meta.putSync("tables", changed);
  });
}

/** Leaves the table empty where the snapshot, of an older version, has none of that name. */
function copyTable(from: Database<Uint8Array, Uint8Array> | undefined, to: Database<unknown, Key>): void {
  to.clearSync();
  if (from === undefined) return;
  // Keys come in order, so each goes to the end. (Sorted duplicates have no such shortcut.)
  const options = (to as { dupSort?: boolean }).dupSort === true ? {} : { append: true };
  for (const { key, value } of from.getRange({})) to.putSync(key, asBinary(value), options);
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
