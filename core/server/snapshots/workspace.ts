import { mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { EndpointError } from "@drover/plugin-sdk";

/** Bytes of the disk that snapshots leave to everything else: log and state share it. */
const RESERVE = 512 * 1024 * 1024;

/** The private folder in which snapshots are put together and taken apart; empty after a start. */
export class Workspace {
  constructor(private readonly root: string) {}

  /** Removes what an interrupted snapshot left. */
  async open(): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
    await mkdir(this.root, { recursive: true, mode: 0o700 });
  }

  /** An empty folder of its own, readable by nobody else. */
  create(): Promise<string> {
    return mkdtemp(join(this.root, "snapshot-"));
  }

  async remove(folder: string): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  }

  /** Rejects with an EndpointError where the disk has less than `bytes` to spare. */
  async demand(bytes: number, what: string): Promise<void> {
    const { bavail, bsize } = await statfs(this.root);
    const free = bavail * bsize;
    if (free - RESERVE >= bytes) return;
    throw new EndpointError(
      507,
      `${what} needs ${bytes} bytes of disk, and ${RESERVE} more must stay free; ${free} are free where ${this.root} is. Make room there and try again`,
    );
  }
}
