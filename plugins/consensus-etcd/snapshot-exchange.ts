import { rm } from "node:fs/promises";
import type { Duplex } from "node:stream";
import {
  type Logger,
  type RpcCaller,
  RpcError,
  type ServerNetwork,
  type StateMachine,
} from "@drover/plugin-sdk";
import {
  type CopyMeta,
  type RestoreReference,
  receiveCopy,
  resumeOf,
  sendCopy,
} from "@drover/plugin-sdk/consensus";
import { z } from "zod";
import type { Snapshots } from "./snapshots.js";

const COPY = "ConsensusEtcd.Copy";
const STAGE = "ConsensusEtcd.Stage";

/** Milliseconds to open a stream, for a snapshot may have to be taken first; and without a chunk before it is given up. */
const OPEN_DEADLINE = 60_000;
const SILENCE = 30_000;
/** Milliseconds for another server to fetch a copy. */
const STAGE_DEADLINE = 600_000;
/** Bytes of the disk that a copy must leave free. */
const MIN_FREE = 32 * 1024 * 1024;

const Reference = z.strictObject({ id: z.uuid(), checksum: z.string() });
const Request = z.strictObject({
  /** A snapshot at or after an index, or a copy for a restore. */
  wanted: z.union([z.strictObject({ atLeast: z.int().min(0) }), z.strictObject({ restore: Reference })]),
  resume: z.strictObject({ checksum: z.string().nullable(), offset: z.int().min(0) }),
});
type Wanted = z.output<typeof Request>["wanted"];
const StageRequest = z.strictObject({ restore: Reference, from: z.string().min(1) });

export interface SnapshotExchangeParts {
  readonly network: ServerNetwork;
  readonly snapshots: Snapshots;
  readonly log: Logger;
  readonly machine: StateMachine;
  /** Only the cluster's own servers are asked for copies. */
  isServer(address: string): boolean;
  termOf(index: number): number;
}

/** Copies of the state from server to server. */
export class SnapshotExchange {
  /** The fetch of a snapshot under way; two would write to one folder. */
  #fetching: Promise<void> = Promise.resolve();

  constructor(private readonly parts: SnapshotExchangeParts) {}

  /** Answers other servers from now on; gives the end of that. */
  serve(): () => void {
    const { network } = this.parts;
    const removals = [
      network.handleStream(COPY, (stream, body, caller) => this.#send(stream, body, caller)),
      network.handle(STAGE, (body, caller) => this.#onStage(body, caller)),
    ];
    return () => {
      for (const removal of removals) removal();
    };
  }

  /** Fetches a snapshot at or after `index` into the store. */
  fetch(address: string, index: number): Promise<void> {
    const fetched = this.#fetching.then(() => this.#fetch(address, index));
    this.#fetching = fetched.catch(() => undefined);
    return fetched;
  }

  /** Fetches a copy for a restore. */
  async fetchRestore(address: string, restore: RestoreReference): Promise<void> {
    const { restores } = this.parts.snapshots;
    const folder = restores.incoming(restore.id);
    const { checksum } = await this.#receive(address, { restore }, folder);
    if (checksum !== restore.checksum) {
      await rm(folder, { recursive: true, force: true });
      throw new Error(`${address} sent another copy of the state than the one to be restored`);
    }
    await restores.adopt(restore.id);
    restores.note(this.parts.machine.lastApplied(), restore.id);
  }

  /** Makes another server fetch a copy from the one at `from`. */
  async stageOn(address: string, restore: RestoreReference, from: string): Promise<void> {
    const body = Buffer.from(JSON.stringify({ restore, from }));
    await this.parts.network.call(address, STAGE, body, { deadline: STAGE_DEADLINE });
  }

  async #fetch(address: string, index: number): Promise<void> {
    const { own } = this.parts.snapshots;
    const { about } = await this.#receive(address, { atLeast: index }, own.incoming);
    if (!(Number(about.index) >= index)) {
      await rm(own.incoming, { recursive: true, force: true });
      throw new Error(
        `${address} sent a snapshot of entry ${String(about.index)}; ${index} or later is needed`,
      );
    }
    await own.adopt(own.incoming);
  }

  async #onStage(body: Uint8Array, caller: RpcCaller): Promise<Uint8Array> {
    const { restore, from } = read(StageRequest, body, caller);
    if (!this.parts.isServer(from)) throw new Error(`${from} is not the address of a server of this cluster`);
    if ((await this.parts.snapshots.staged(restore)) === undefined) await this.fetchRestore(from, restore);
    return new Uint8Array(0);
  }

  async #send(stream: Duplex, body: Uint8Array, caller: RpcCaller): Promise<void> {
    stream.on("error", () => undefined);
    const { wanted, resume } = read(Request, body, caller);
    const { snapshots, log } = this.parts;
    if ("restore" in wanted) {
      if ((await snapshots.staged(wanted.restore)) === undefined)
        throw new Error("this server has no such copy");
      await sendCopy(stream, snapshots.restores.folder(wanted.restore.id), resume);
      return;
    }
    const snapshot = await this.#snapshotAt(wanted.atLeast);
    const release = snapshots.own.hold(snapshot);
    try {
      log.info({ to: caller.address, index: snapshot.meta.index }, "sending a snapshot");
      await sendCopy(stream, snapshot.folder, resume);
    } finally {
      release();
    }
  }

  /** The newest one, or one that is taken now. */
  async #snapshotAt(index: number) {
    const { snapshots, machine, termOf } = this.parts;
    const found = await snapshots.usable(index);
    if (found !== undefined) return found;
    if (machine.lastApplied() < index)
      throw new Error(`this server has applied entry ${machine.lastApplied()} only`);
    await snapshots.take(machine, termOf);
    const taken = await snapshots.usable(index);
    if (taken === undefined) throw new Error("the snapshot that was taken can't be read");
    return taken;
  }

  async #receive(address: string, wanted: Wanted, folder: string): Promise<CopyMeta> {
    const { network, snapshots } = this.parts;
    const body = Buffer.from(JSON.stringify({ wanted, resume: await resumeOf(folder) }));
    const free = (await snapshots.free()) - MIN_FREE;
    const stream = await network.stream(address, COPY, body, { deadline: OPEN_DEADLINE });
    stream.on("error", () => undefined);
    const silence = setTimeout(
      () => stream.destroy(new Error(`${address} sent nothing for ${SILENCE} ms`)),
      SILENCE,
    );
    try {
      return await receiveCopy(stream, folder, { free: () => free, progressed: () => silence.refresh() });
    } finally {
      clearTimeout(silence);
      stream.destroy();
    }
  }
}

function read<T>(schema: z.ZodType<T>, body: Uint8Array, caller: RpcCaller): T {
  if (caller.identity !== undefined && caller.identity.role !== "server") {
    throw new RpcError("ERR_RPC_REFUSED", "only servers are given copies of the state");
  }
  return schema.parse(JSON.parse(Buffer.from(body).toString("utf8")));
}
