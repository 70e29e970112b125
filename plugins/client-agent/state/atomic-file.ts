/** A small private file that is always whole on disk: old content or new, never half. */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { sleep } from "../clock.js";

/** Pause before a failed write is tried again, milliseconds. */
const RETRY = 2000;

export interface WriteObserver {
  failed(path: string, error: Error): void;
  recovered(path: string): void;
}

/**
 * Writes are coalesced: while one is under way only the newest content waits. A write that fails (disk full) is told once
 * and tried again until it works; meanwhile the agent goes on.
 */
export class AtomicFile {
  private wanted: string | undefined;
  private written: string | undefined;
  private writing: Promise<void> | undefined;
  private failing = false;
  private readonly removed = new AbortController();

  constructor(
    private readonly path: string,
    private readonly observer: WriteObserver,
  ) {}

  /** Resolves when `content` or something newer is on disk, or could not be written this time. */
  async save(content: string): Promise<void> {
    this.wanted = content;
    while (this.wanted !== undefined && !this.failing && !this.removed.signal.aborted) {
      await this.writeInTurn();
    }
  }

  /** Removes the file, for good. */
  async remove(): Promise<void> {
    this.removed.abort();
    await this.writing;
    await rm(this.path, { force: true });
    await rm(`${this.path}.new`, { force: true });
  }

  /** Ends retrying. */
  close(): void {
    this.removed.abort();
  }

  /** Joins the write under way, or begins one. */
  private writeInTurn(): Promise<void> {
    this.writing ??= this.writeNewest().finally(() => {
      this.writing = undefined;
    });
    return this.writing;
  }

  private async writeNewest(): Promise<void> {
    const content = this.wanted;
    if (content === undefined) return;
    this.wanted = undefined;
    if (content === this.written) return;
    try {
      await writeWhole(this.path, content);
      this.written = content;
      if (this.failing) this.observer.recovered(this.path);
      this.failing = false;
    } catch (error) {
      this.wanted ??= content;
      if (!this.failing) {
        this.failing = true;
        this.observer.failed(this.path, error as Error);
        void this.retry();
      }
    }
  }

  private async retry(): Promise<void> {
    while (this.failing && !this.removed.signal.aborted) {
      await sleep(RETRY, this.removed.signal);
      if (this.removed.signal.aborted) return;
      await this.writeInTurn();
    }
  }
}

/** Replaces a file's content in one step, mode 0600, durable when it resolves. */
export async function writeWhole(path: string, content: string): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
