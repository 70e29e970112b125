import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { Duplex } from "node:stream";
import {
  type Logger,
  type RpcCaller,
  RpcError,
  type ServerNetwork,
  type StateMachine,
} from "@drover/plugin-sdk";
import type { SnapshotFile } from "@drover/plugin-sdk/consensus";
import { z } from "zod";
import type { RestoreReference } from "./records.js";
import type { Snapshots } from "./snapshots.js";

const SNAPSHOT = "ConsensusEtcd.Snapshot";
const STAGE = "ConsensusEtcd.Stage";

/** Milliseconds to open a stream, for a snapshot may have to be taken first; and without a byte before it is given up. */
const OPEN_DEADLINE = 60_000;
const SILENCE = 30_000;
/** Milliseconds for another server to fetch a copy. */
const STAGE_DEADLINE = 600_000;
const MAX_HEADER = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
const PIECE = 256 * 1024;

const position = z.int().min(0);
const reference = z.strictObject({ id: z.uuid(), digest: z.string() });
const Wanted = z.union([
  /** A snapshot at or after this index. */
  z.strictObject({ atLeast: position }),
  z.strictObject({ staged: reference }),
]);
type Wanted = z.output<typeof Wanted>;
const StageRequest = z.strictObject({ staged: reference, from: z.string().min(1) });

const Header = z.strictObject({
  index: position,
  term: position,
  files: z
    .array(z.strictObject({ path: z.string(), size: position, sha256: z.string().regex(/^[0-9a-f]{64}$/) }))
    .max(MAX_FILES),
});
type Header = z.output<typeof Header>;

export interface SnapshotExchangeParts {
  readonly network: ServerNetwork;
  readonly snapshots: Snapshots;
  readonly log: Logger;
  /** Only the cluster's own servers are asked for copies. */
  isServer(address: string): boolean;
  readonly machine: StateMachine;
  termOf(index: number): number;
}

/**
 * Copies of the state from server to server: a header of four bytes' length (big endian) and JSON, then the files one after
 * another.
 */
export class SnapshotExchange {
  constructor(private readonly parts: SnapshotExchangeParts) {}

  /** Answers other servers from now on; gives the end of that. */
  serve(): () => void {
    const { network } = this.parts;
    const removals = [
      network.handleStream(SNAPSHOT, (stream, body, caller) => this.#send(stream, body, caller)),
      network.handle(STAGE, (body, caller) => this.#onStage(body, caller)),
    ];
    return () => {
      for (const removal of removals) removal();
    };
  }

  /** Fetches a snapshot at or after `index` into the store. */
  async fetch(address: string, index: number): Promise<void> {
    await this.#receive(address, { atLeast: index }, async (header, write) => {
      if (header.index < index) {
        throw new Error(
          `${address} sent a snapshot of entry ${header.index}; one of ${index} or later is needed`,
        );
      }
      await this.parts.snapshots.keep(header, write);
    });
  }

  /** Fetches a copy that is to be restored. */
  async fetchStaged(address: string, staged: RestoreReference): Promise<void> {
    await this.#receive(address, { staged }, async ({ index, term }, write) => {
      await this.parts.snapshots.keepStaged({ index, term, id: staged.id }, write);
      if ((await this.parts.snapshots.staged(staged)) === undefined) {
        throw new Error(`${address} sent another copy than the one to be restored`);
      }
    });
  }

  /** Makes another server fetch a copy from the one at `from`. */
  async stageOn(address: string, staged: RestoreReference, from: string): Promise<void> {
    const body = Buffer.from(JSON.stringify({ staged, from }));
    await this.parts.network.call(address, STAGE, body, { deadline: STAGE_DEADLINE });
  }

  async #onStage(body: Uint8Array, caller: RpcCaller): Promise<Uint8Array> {
    const { staged, from } = request(StageRequest, body, caller);
    if (!this.parts.isServer(from)) throw new Error(`${from} is not the address of a server of this cluster`);
    if ((await this.parts.snapshots.staged(staged)) === undefined) await this.fetchStaged(from, staged);
    return new Uint8Array(0);
  }

  async #send(stream: Duplex, body: Uint8Array, caller: RpcCaller): Promise<void> {
    const wanted = request(Wanted, body, caller);
    const { snapshots, machine, termOf } = this.parts;
    let found =
      "staged" in wanted ? await snapshots.staged(wanted.staged) : await snapshots.usable(wanted.atLeast);
    if (found === undefined && "atLeast" in wanted && machine.lastApplied() >= wanted.atLeast) {
      await snapshots.take(machine, termOf);
      found = await snapshots.usable(wanted.atLeast);
    }
    if (found === undefined) throw new Error("this server has no such copy of the state");
    const { index, term } = found.meta;
    const files = await snapshots.describe(found);
    const header = Buffer.from(JSON.stringify({ index, term, files: [...files] } satisfies Header));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(header.length);
    try {
      await write(stream, Buffer.concat([length, header]));
      for (const { path } of files) {
        for await (const piece of createReadStream(join(found.state, "..", path), { highWaterMark: PIECE })) {
          await write(stream, piece as Buffer);
        }
      }
      stream.end();
    } catch (error) {
      stream.destroy(error as Error);
      this.parts.log.warn(
        { peer: caller.address, error: (error as Error).message },
        "sending a snapshot failed",
      );
    }
  }

  async #receive(
    address: string,
    wanted: Wanted,
    keep: (header: Header, write: (folder: string) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const body = Buffer.from(JSON.stringify(wanted));
    const stream = await this.parts.network.stream(address, SNAPSHOT, body, { deadline: OPEN_DEADLINE });
    const reader = new ByteReader(stream);
    try {
      const length = (await reader.read(4)).readUInt32BE();
      if (length > MAX_HEADER) throw new Error(`${address} sent a header of ${length} bytes`);
      const header = Header.parse(JSON.parse((await reader.read(length)).toString("utf8")));
      await keep(header, (folder) => writeFiles(reader, header.files, folder));
    } finally {
      stream.destroy();
    }
  }
}

function request<T>(schema: z.ZodType<T>, body: Uint8Array, caller: RpcCaller): T {
  if (caller.identity !== undefined && caller.identity.role !== "server") {
    throw new RpcError("ERR_RPC_REFUSED", "only servers are given copies of the state");
  }
  return schema.parse(JSON.parse(Buffer.from(body).toString("utf8")));
}

/** Writes what comes to files below `folder`, which stands for `state/`; throws where one is not what the sender says. */
async function writeFiles(reader: ByteReader, files: readonly SnapshotFile[], folder: string): Promise<void> {
  const root = resolve(folder);
  for (const { path, size, sha256 } of files) {
    const target = resolve(root, "..", path);
    if (!target.startsWith(root + sep)) throw new Error(`a file of the snapshot would be written to ${path}`);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    const hash = createHash("sha256");
    const handle = await open(target, "wx", 0o600);
    try {
      for (let left = size; left > 0; ) {
        const piece = await reader.some(left);
        hash.update(piece);
        await handle.writeFile(piece);
        left -= piece.length;
      }
    } finally {
      await handle.close();
    }
    if (hash.digest("hex") !== sha256)
      throw new Error(`${path} of the snapshot arrived with another checksum`);
  }
}

/** Resolves once the stream takes more; rejects when it is closed, or takes nothing for too long. */
async function write(stream: Duplex, data: Buffer): Promise<void> {
  if (stream.write(data)) return;
  await quiet(
    (done, fail) => {
      stream.once("drain", done);
      stream.once("close", fail);
    },
    (done, fail) => {
      stream.off("drain", done);
      stream.off("close", fail);
    },
    "the other server stopped reading",
  );
}

/** Waits for an event of a stream, at most `SILENCE`. */
function quiet(
  listen: (done: () => void, fail: () => void) => void,
  unlisten: (done: () => void, fail: () => void) => void,
  what: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer);
      unlisten(done, fail);
      act();
    };
    const done = () => settle(resolve);
    const fail = () => settle(() => reject(new Error(what)));
    const timer = setTimeout(fail, SILENCE);
    listen(done, fail);
  });
}

/** Bytes of a stream in the portions that the reader asks for. */
class ByteReader {
  #error: Error | undefined;

  constructor(private readonly stream: Duplex) {
    stream.on("error", (error) => {
      this.#error = error;
    });
  }

  /** Exactly `length` bytes. */
  async read(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let left = length; left > 0; left -= pieces.at(-1)!.length) pieces.push(await this.some(left));
    return Buffer.concat(pieces);
  }

  /** Between one byte and `most`. */
  async some(most: number): Promise<Buffer> {
    for (;;) {
      const { stream } = this;
      const available = Math.min(most, stream.readableLength);
      const piece = (available > 0 ? stream.read(available) : null) as Buffer | null;
      if (piece !== null) return piece;
      if (this.#error !== undefined || stream.readableEnded || stream.destroyed) {
        throw new Error("the snapshot ended before its time", { cause: this.#error });
      }
      // Reading nothing makes the stream ask its source for more.
      stream.read(0);
      await quiet(
        (done, fail) => {
          stream.once("readable", done);
          stream.once("end", fail);
          stream.once("close", fail);
        },
        (done, fail) => {
          stream.off("readable", done);
          stream.off("end", fail);
          stream.off("close", fail);
        },
        "the snapshot ended before its time",
      );
    }
  }
}
