/** Copies of the state that other servers need, and those that this one needs of them. */
import type { Duplex } from "node:stream";
import type { Logger, Metrics, RpcCaller, ServerNetwork } from "@drover/plugin-sdk";
import {
  type RestoreStore,
  type Resume,
  receiveCopy,
  resumeOf,
  type SnapshotStore,
  sendCopy,
} from "@drover/plugin-sdk/consensus";
import { Packr } from "msgpackr";
import type { Fetch, SnapshotMeta } from "./core/types.js";
import { decodeHello, encodeHello, type Hello, refusal } from "./hello.js";
import { snapshotMeta } from "./snapshot-meta.js";
import { freeBytes } from "./space-reservation.js";

const COPY_METHOD = "Raft.Copy";
const packr = new Packr({ useRecords: false });

interface Request extends Resume {
  readonly hello: Uint8Array;
  /** Id of the copy of a `restore` entry; null for the newest snapshot. */
  readonly restore: string | null;
}

export interface CopiesParts {
  readonly network: ServerNetwork;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly snapshots: SnapshotStore<SnapshotMeta>;
  readonly restores: RestoreStore;
  /** Milliseconds without a byte after which a transfer is given up. */
  readonly patience: number;
  /** Bytes of the disk that a copy must leave free. */
  readonly minFreeBytes: number;
  greet(to: string): Hello;
  /** Throws for a server that this one must not speak with. */
  check(hello: Hello, caller: RpcCaller): void;
  addressOf(id: string): string | undefined;
  /** The snapshot that was fetched is whole and on the disk. */
  snapshotFetched(snapshot: SnapshotMeta): void;
  restoreFetched(id: string): void;
  fetchFailed(): void;
}

export class Copies {
  readonly #remove: () => void;
  #fetch: { readonly abort: AbortController; readonly done: Promise<void> } | undefined;
  /** Transfers to other servers, by id: one at a time each. */
  readonly #sending = new Map<string, Duplex>();
  #closed = false;

  constructor(private readonly parts: CopiesParts) {
    this.#remove = parts.network.handleStream(COPY_METHOD, (stream, body, caller) =>
      this.#serve(stream, body, caller),
    );
  }

  /** Begins to fetch, in the place of what is being fetched. */
  fetch(fetch: Fetch): void {
    if (this.#closed) return;
    const before = this.#fetch;
    before?.abort.abort();
    const abort = new AbortController();
    const done = (before?.done ?? Promise.resolve()).then(() => this.#run(fetch, abort));
    this.#fetch = { abort, done };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#remove();
    for (const stream of this.#sending.values()) stream.destroy();
    this.#fetch?.abort.abort();
    await this.#fetch?.done;
  }

  // --- receiving ----------------------------------------------------------------------------------------------------

  async #run(fetch: Fetch, abort: AbortController): Promise<void> {
    const { log, metrics, snapshots, restores } = this.parts;
    if (abort.signal.aborted) return;
    const started = performance.now();
    const what =
      fetch.type === "snapshot" ? { snapshot: fetch.snapshot.index } : { restore: fetch.restore.id };
    try {
      const restore = fetch.type === "restore" ? fetch.restore : null;
      const folder = restore === null ? snapshots.incoming : restores.incoming(restore.id);
      const meta = await this.#receive(fetch.from, restore?.id ?? null, folder, abort);
      if (abort.signal.aborted) return;
      metrics.sample("nomad.raft.snapshot.install", performance.now() - started);
      if (restore === null) {
        // Its description is read before it counts as a snapshot.
        snapshotMeta(meta.about);
        const snapshot = await snapshots.adopt(folder);
        log.info({ from: fetch.from, index: snapshot.index }, "fetched a snapshot");
        this.parts.snapshotFetched(snapshot);
        return;
      }
      if (meta.checksum !== restore.checksum) {
        throw new Error("the sender's copy of the state is not the one that the raft log names");
      }
      await restores.adopt(restore.id);
      log.info({ from: fetch.from, id: restore.id }, "fetched a copy of the state");
      this.parts.restoreFetched(restore.id);
    } catch (error) {
      if (abort.signal.aborted) return;
      log.warn(
        { from: fetch.from, ...what, error: (error as Error).message },
        "a copy of the state could not be fetched; the leader will offer it again",
      );
      this.parts.fetchFailed();
    }
  }

  async #receive(from: string, restore: string | null, folder: string, abort: AbortController) {
    const { network, patience, minFreeBytes } = this.parts;
    const address = this.parts.addressOf(from);
    if (address === undefined) throw new Error(`the address of server ${from} is not known`);
    const resume = await resumeOf(folder);
    const hello = encodeHello(this.parts.greet(from));
    const request: Request = { hello, restore, ...resume };
    const stream = await network.stream(address, COPY_METHOD, packr.pack(request), {
      deadline: patience,
      signal: abort.signal,
    });
    stream.on("error", () => undefined);
    const silence = setTimeout(
      () => stream.destroy(new Error(`server ${from} sent nothing for ${patience} ms`)),
      patience,
    );
    const aborted = () => stream.destroy(new Error("it is no longer wanted"));
    abort.signal.addEventListener("abort", aborted, { once: true });
    try {
      return await receiveCopy(stream, folder, {
        free: () => freeBytes(folder) - minFreeBytes,
        progressed: () => silence.refresh(),
      });
    } finally {
      clearTimeout(silence);
      abort.signal.removeEventListener("abort", aborted);
      stream.destroy();
    }
  }

  // --- sending ------------------------------------------------------------------------------------------------------

  async #serve(stream: Duplex, body: Uint8Array, caller: RpcCaller): Promise<void> {
    const { log, snapshots, restores } = this.parts;
    stream.on("error", () => undefined);
    let hello: Hello;
    let request: Request;
    try {
      request = readRequest(body);
      hello = decodeHello(request.hello);
      this.parts.check(hello, caller);
    } catch (error) {
      log.error(
        { address: caller.address, error: (error as Error).message },
        "refused a server a copy of the state",
      );
      throw error;
    }
    this.#sending.get(hello.id)?.destroy();
    this.#sending.set(hello.id, stream);
    let release: (() => void) | undefined;
    try {
      let folder: string;
      if (request.restore === null) {
        const available = await snapshots.list();
        const begun = available.find(({ checksum }) => checksum === request.checksum);
        const snapshot = begun ?? available[0];
        if (snapshot === undefined) throw refusal("this server has no snapshot");
        release = snapshots.hold(snapshot);
        folder = snapshot.folder;
      } else {
        folder = restores.folder(request.restore);
      }
      log.info({ to: hello.id, folder, offset: request.offset }, "sending a copy of the state");
      await sendCopy(stream, folder, request);
    } catch (error) {
      log.warn({ to: hello.id, error: (error as Error).message }, "a copy of the state was not sent whole");
      throw error;
    } finally {
      release?.();
      if (this.#sending.get(hello.id) === stream) this.#sending.delete(hello.id);
    }
  }
}

function readRequest(body: Uint8Array): Request {
  const { hello, restore, checksum, offset } = packr.unpack(body) as Partial<Record<keyof Request, unknown>>;
  if (
    !(hello instanceof Uint8Array) ||
    (restore !== null && typeof restore !== "string") ||
    (checksum !== null && typeof checksum !== "string") ||
    !Number.isSafeInteger(offset) ||
    (offset as number) < 0
  ) {
    throw refusal("the request for a copy of the state can't be read");
  }
  return { hello, restore, checksum, offset: offset as number };
}
