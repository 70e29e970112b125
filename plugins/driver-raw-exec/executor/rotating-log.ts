/** A log file that rotates by size: `<name>.<n>`, n counting up, the oldest deleted. */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";

export interface RotatingLogOptions {
  readonly folder: string;
  readonly name: string;
  readonly maxFiles: number;
  readonly maxBytes: number;
  /** Told once when writing starts to fail; output is dropped until it works again. */
  readonly onError: (message: string) => void;
}

// The folder is writable by the task, so a link or a fifo planted under the next name must not be followed.
const FLAGS =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class RotatingLog {
  private file: FileHandle | undefined;
  private size = 0;
  private failing = false;

  private constructor(
    private readonly options: RotatingLogOptions,
    private index: number,
  ) {}

  /** Goes on with the newest file there is. */
  static async open(options: RotatingLogOptions): Promise<RotatingLog> {
    const log = new RotatingLog(options, Math.max(0, ...(await fileNumbers(options))));
    await log.openFile();
    return log;
  }

  /** Writes all of `data`, or drops it and tells; never rejects, because a task must not stop for its log. */
  async write(data: Uint8Array): Promise<void> {
    try {
      let rest = data;
      while (rest.length > 0) {
        if (this.file === undefined) await this.openFile();
        if (this.size >= this.options.maxBytes) await this.rotate();
        const room = Math.max(1, this.options.maxBytes - this.size);
        const { bytesWritten } = await this.file!.write(rest.subarray(0, room));
        this.size += bytesWritten;
        rest = rest.subarray(bytesWritten);
      }
      this.failing = false;
    } catch (error) {
      if (!this.failing) {
        this.failing = true;
        this.options.onError(
          `output of the task is dropped: ${join(this.options.folder, this.options.name)}.${this.index}: ${(error as Error).message}`,
        );
      }
    }
  }

  async close(): Promise<void> {
    const file = this.file;
    this.file = undefined;
    await file?.close();
  }

  private async rotate(): Promise<void> {
    await this.close();
    this.index += 1;
    await this.openFile();
    for (const old of await fileNumbers(this.options)) {
      if (old <= this.index - this.options.maxFiles) {
        await unlink(join(this.options.folder, `${this.options.name}.${old}`));
      }
    }
  }

  private async openFile(): Promise<void> {
    for (;;) {
      const path = join(this.options.folder, `${this.options.name}.${this.index}`);
      let file: FileHandle;
      try {
        file = await open(path, FLAGS, 0o644);
      } catch (error) {
        // Something that isn't a plain file took the name: leave it and use the next.
        if (["ELOOP", "EISDIR", "ENXIO"].includes((error as NodeJS.ErrnoException).code ?? "")) {
          this.index += 1;
          continue;
        }
        throw error;
      }
      const stat = await file.stat();
      if (!stat.isFile()) {
        await file.close();
        this.index += 1;
        continue;
      }
      this.file = file;
      this.size = stat.size;
      return;
    }
  }
}

/** Numbers of the log's files, in no order. */
async function fileNumbers(options: { readonly folder: string; readonly name: string }): Promise<number[]> {
  const prefix = `${options.name}.`;
  const names = await readdir(options.folder);
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{1,9}$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)));
}
