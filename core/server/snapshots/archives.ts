import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Consensus, Logger, SavedSnapshot } from "@drover/plugin-sdk";
import { EndpointError, NotLeaderError } from "@drover/plugin-sdk";
import {
  ARCHIVE_VERSION,
  ArchiveError,
  type ArchiveMeta,
  readArchive,
  sizeOf,
  writeArchive,
} from "../../state/archive/index.js";
import { checkSnapshot, SCHEMA_VERSION, SNAPSHOT_FILES } from "../../state/index.js";
import type { Leadership } from "../leader.js";
import { Workspace } from "./workspace.js";

/** Snapshots that are made or read by somebody at a time; each takes disk until it is done. */
const MAX_SAVES = 2;
/** A reader that takes nothing for so long is given up, and so is a sender that sends nothing. Milliseconds. */
const STALL_LIMIT = 60_000;
const CHUNK = 256 * 1024;

export interface SnapshotArchivesParts {
  readonly consensus: Consensus;
  readonly leadership: Pick<Leadership, "restart">;
  readonly region: string;
  /** Of Drover. */
  readonly version: string;
  /** Folder for what is under way. */
  readonly folder: string;
  /** Bytes of the state on disk. */
  readonly stateBytes: () => number;
  readonly log: Logger;
}

/** Makes archives of the state as this server has it, and puts the state of an archive in force. */
export class SnapshotArchives {
  readonly #workspace: Workspace;
  #saves = 0;
  #restoring = false;

  constructor(private readonly parts: SnapshotArchivesParts) {
    this.#workspace = new Workspace(parts.folder);
  }

  open(): Promise<void> {
    return this.#workspace.open();
  }

  /** Everything is written before the answer, so that whoever reads it knows its length and checksum beforehand. */
  async save(): Promise<SavedSnapshot> {
    if (this.#saves >= MAX_SAVES) {
      throw new EndpointError(429, `${this.#saves} snapshots are being saved already: try again later`);
    }
    this.#saves++;
    let folder: string | undefined;
    const end = async (): Promise<void> => {
      this.#saves--;
      if (folder !== undefined) await this.#workspace.remove(folder);
    };
    try {
      // The copy and the archive of it, neither of them larger than the state.
      await this.#workspace.demand(2 * this.parts.stateBytes(), "a snapshot");
      folder = await this.#workspace.create();
      return await this.#write(folder, end);
    } catch (error) {
      await end();
      throw error;
    }
  }

  async #write(folder: string, end: () => Promise<void>): Promise<SavedSnapshot> {
    const { consensus, region, version, log } = this.parts;
    const copy = join(folder, "copy");
    const { index, term, peers } = await consensus.saveSnapshot(copy);
    const { schema, tables } = await checkSnapshot(copy, region);
    const created = new Date();
    const meta: ArchiveMeta = {
      Version: ARCHIVE_VERSION,
      ID: `${term}-${index}-${created.getTime()}`,
      Index: index,
      Term: term,
      Created: created.toISOString(),
      Drover: version,
      Region: region,
      Schema: schema,
      Servers: peers.map(({ id, address, voter }) => ({ ID: id, Address: address, Voter: voter })),
      Files: await Promise.all(
        SNAPSHOT_FILES.map(async (Name) => ({ Name, Size: (await stat(join(copy, Name))).size })),
      ),
      Tables: tables.map(({ name, rows, bytes }) => ({ Name: name, Rows: rows, Bytes: bytes })),
    };
    const path = join(folder, "archive");
    const hash = createHash("sha256");
    const sink = new PassThrough();
    sink.on("data", (chunk: Buffer) => hash.update(chunk));
    const stored = pipeline(sink, createWriteStream(path, { mode: 0o600 }));
    await Promise.all([writeArchive(copy, meta, sink), stored]);
    await this.#workspace.remove(copy);
    const { size } = await stat(path);
    log.info({ id: meta.ID, index, size }, "saved a snapshot for an operator");
    const archive = patientFile(path);
    archive.once("close", () => {
      end().catch((error: unknown) =>
        log.warn({ folder, error: String(error) }, "a snapshot was not removed"),
      );
    });
    return { index, term, size, sha256: hash.digest("base64"), archive };
  }

  /**
   * On the leader: gives the index at which the archive's state is in force. Nothing is changed before all is checked, and
   * `begin` is not called before the work can begin.
   */
  async restore(begin: () => AsyncIterable<Uint8Array>): Promise<number> {
    const { consensus, leadership, log } = this.parts;
    if (!consensus.isLeader()) throw new NotLeaderError(consensus.leader());
    if (this.#restoring) {
      throw new EndpointError(429, "a snapshot is being restored already: wait until that is done");
    }
    this.#restoring = true;
    let folder: string | undefined;
    try {
      folder = await this.#workspace.create();
      const copy = join(folder, "copy");
      await mkdir(copy, { mode: 0o700 });
      const meta = await this.#unpack(begin(), copy);
      log.warn({ id: meta.ID, index: meta.Index, created: meta.Created }, "restoring a snapshot");
      const index = await leadership.restart(() => consensus.restoreSnapshot(copy));
      log.warn({ id: meta.ID, index }, "the state is that of a snapshot");
      return index;
    } finally {
      this.#restoring = false;
      if (folder !== undefined) await this.#workspace.remove(folder);
    }
  }

  async #unpack(source: AsyncIterable<Uint8Array>, copy: string): Promise<ArchiveMeta> {
    try {
      const meta = await readArchive(patiently(source), async (said) => {
        this.#check(said);
        // What is unpacked, consensus' own copy, and the state that grows by it.
        await this.#workspace.demand(3 * sizeOf(said.Files), "a restore of this snapshot");
        return copy;
      });
      const { index } = await checkSnapshot(copy, this.parts.region);
      if (index !== meta.Index) {
        throw new ArchiveError(`its state is at index ${index}, and meta.json says ${meta.Index}`);
      }
      return meta;
    } catch (error) {
      if (!(error instanceof Error) || error instanceof EndpointError) throw error;
      if (!(error instanceof ArchiveError) && (error as NodeJS.ErrnoException).code !== undefined)
        throw error;
      throw new EndpointError(
        400,
        `the snapshot archive is refused, and nothing was changed: ${error.message.replaceAll(`${copy}`, "the archive")}`,
      );
    }
  }

  #check({ Region, Schema, Drover, Files }: ArchiveMeta): void {
    const { region } = this.parts;
    if (Region !== region) {
      throw new ArchiveError(
        `it is of region ${JSON.stringify(Region)}, and these servers are of ${JSON.stringify(region)}`,
      );
    }
    if (Schema > SCHEMA_VERSION) {
      throw new ArchiveError(
        `its state has schema version ${Schema}, written by Drover ${Drover}, and this server reads up to ${SCHEMA_VERSION}: upgrade the servers first`,
      );
    }
    const names = Files.map(({ Name }) => Name);
    if (names.length !== SNAPSHOT_FILES.length || SNAPSHOT_FILES.some((name) => !names.includes(name))) {
      throw new ArchiveError(`it holds ${names.join(", ")}, and a state is ${SNAPSHOT_FILES.join(" and ")}`);
    }
  }
}

/** What `source` gives, for as long as it gives anything. */
async function* patiently(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  for (;;) {
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_, reject) => {
      const late = new EndpointError(408, `nothing of the snapshot came for ${STALL_LIMIT / 1000} s`);
      timer = setTimeout(() => reject(late), STALL_LIMIT);
    });
    const next = await Promise.race([iterator.next(), stalled]).finally(() => clearTimeout(timer));
    if (next.done === true) return;
    yield next.value;
  }
}

/** The bytes of a file, for as long as somebody takes them. */
function patientFile(path: string): Readable {
  async function* bytes(): AsyncGenerator<Buffer> {
    for await (const chunk of createReadStream(path, { highWaterMark: CHUNK })) {
      const stalled = setTimeout(
        () => stream.destroy(new Error(`nobody read the snapshot on for ${STALL_LIMIT / 1000} s`)),
        STALL_LIMIT,
      );
      stalled.unref();
      try {
        yield chunk as Buffer;
      } finally {
        clearTimeout(stalled);
      }
    }
  }
  const stream = Readable.from(bytes(), { objectMode: false, highWaterMark: CHUNK });
  return stream;
}
