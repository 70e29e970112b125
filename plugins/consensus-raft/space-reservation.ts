import { statfsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { DiskFullError } from "@drover/plugin-sdk/consensus";

/** Step in which the file grows. */
const STEP = 4 * 1024 * 1024;
const NO_SPACE = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Bytes that this process may still write to the file system of `folder`. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/**
 * Makes sure that a database file has its blocks before LMDB writes them. LMDB's binding does not survive a failed write
 * (its heap was seen corrupted after ENOSPC), so a full disk must be met here, where it does no harm: the file is extended
 * with zeros beyond what LMDB uses, and LMDB then only overwrites blocks that exist.
 */
export class SpaceReservation {
  #size = 0;

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly minFree: number,
    private readonly free: (folder: string) => number,
  ) {}

  static async open(
    path: string,
    minFree: number,
    free: (folder: string) => number,
  ): Promise<SpaceReservation> {
    const reservation = new SpaceReservation(path, await open(path, "r+"), minFree, free);
    reservation.#size = (await reservation.file.stat()).size;
    return reservation;
  }

  /** Rejects with `DiskFullError` when `needed` bytes after the first `used` ones can't be had. */
  async ensure(used: number, needed: number): Promise<void> {
    const folder = dirname(this.path);
    const free = this.free(folder);
    if (free < this.minFree) {
      throw new DiskFullError(
        `no space for the raft log in ${folder}: ${free} bytes are free, and ${this.minFree} must stay free; make room or lower min_free_bytes`,
      );
    }
    const wanted = used + needed;
    if (wanted <= this.#size) return;
    try {
      await this.#extend(Math.ceil(wanted / STEP) * STEP);
    } catch (error) {
      if (!NO_SPACE.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      // Part of the step may be there, and that may be enough.
      this.#size = (await this.file.stat()).size;
      if (wanted <= this.#size) return;
      throw new DiskFullError(
        `no space for the raft log in ${folder}: ${needed} bytes could not be reserved (${(error as Error).message}); make room there`,
        { cause: error },
      );
    }
  }

  async #extend(size: number): Promise<void> {
    // LMDB may have grown the file itself since.
    let position = (await this.file.stat()).size;
    const zeros = Buffer.alloc(Math.max(0, Math.min(STEP, size - position)));
    while (position < size) {
      const { bytesWritten } = await this.file.write(
        zeros,
        0,
        Math.min(zeros.length, size - position),
        position,
      );
      position += bytesWritten;
    }
    await this.file.sync();
    this.#size = position;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
