import {
  type Consensus,
  NotLeaderError,
  RpcError,
  type SavedSnapshot,
  type ServerNetwork,
  type SnapshotEndpoint,
} from "@drover/plugin-sdk";
import type { SnapshotArchives } from "../../server/snapshots/archives.js";
import type { Hold } from "../forwarding/hold.js";
import { restoreAt, saveAt, serveSnapshots } from "./snapshot-stream.js";

/** The leader has this long until it sends: the archive of the whole state is written meanwhile. Milliseconds. */
const SAVE_DEADLINE = 1_800_000;
/** And this long until it takes an archive. */
const RESTORE_DEADLINE = 10_000;

/** `Snapshot.Save` and `Snapshot.Restore`, done on the leader wherever they are asked for. */
export class Snapshots implements SnapshotEndpoint {
  constructor(
    private readonly consensus: Consensus,
    private readonly archives: SnapshotArchives,
    /** Undefined on a server that is alone by its configuration. */
    private readonly network: ServerNetwork | undefined,
    private readonly hold: Hold,
  ) {}

  /** Answers other servers from now on; returns its end. */
  serve(): () => void {
    if (this.network === undefined) return () => undefined;
    return serveSnapshots(this.network, {
      save: () => this.#saveHere(),
      restore: async (begin) => {
        if (!this.consensus.isLeader()) throw new NotLeaderError(this.consensus.leader());
        return this.archives.restore(begin);
      },
    });
  }

  async save({ stale }: { readonly stale: boolean }, signal: AbortSignal): Promise<SavedSnapshot> {
    const saved = stale
      ? await this.archives.save()
      : await this.#onLeader(
          signal,
          () => this.#saveHere(),
          (network, address) => saveAt(network, address, { deadline: SAVE_DEADLINE, signal }),
        );
    if (signal.aborted) saved.archive.destroy();
    return saved;
  }

  async restore(
    archive: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<{ readonly Index: number }> {
    const index = await this.#onLeader(
      signal,
      () => this.archives.restore(() => archive),
      (network, address) => restoreAt(network, address, archive, { deadline: RESTORE_DEADLINE, signal }),
    );
    return { Index: index };
  }

  async #saveHere(): Promise<SavedSnapshot> {
    if (!this.consensus.isLeader()) throw new NotLeaderError(this.consensus.leader());
    await this.consensus.barrier();
    return this.archives.save();
  }

  /** Tried again, for the hold's time, where certainly nothing was begun. */
  async #onLeader<T>(
    signal: AbortSignal,
    here: () => Promise<T>,
    there: (network: ServerNetwork, address: string) => Promise<T>,
  ): Promise<T> {
    const held = this.hold.begin();
    for (;;) {
      const leader = this.consensus.leader();
      try {
        if (this.consensus.isLeader()) return await here();
        if (leader !== undefined && leader.id !== this.consensus.id) {
          if (this.network === undefined) throw new NotLeaderError(leader);
          return await there(this.network, leader.address);
        }
      } catch (error) {
        if (!nothingBegun(error)) throw error;
      }
      signal.throwIfAborted();
      await held.pause();
    }
  }
}

const nothingBegun = (error: unknown): boolean =>
  error instanceof NotLeaderError || (error instanceof RpcError && error.code === "ERR_RPC_UNREACHABLE");
