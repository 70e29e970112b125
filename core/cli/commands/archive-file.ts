import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { ExitError } from "../exit.js";

/** A snapshot file on its way: it gets its name when it is whole, and nothing is left of one that fails. */
export class ArchiveFile {
  /** Where it is until then. */
  readonly unfinished: string;
  #finished = false;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {
    this.unfinished = unfinishedName(path);
  }

  /** Takes the name at once, so that two don't write one file. Throws an ExitError for a file that is there. */
  static async create(path: string): Promise<ArchiveFile> {
    try {
      await (await open(path, "wx", 0o600)).close();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      throw new ExitError(1, `${path} is there already: name another file, or remove that one first.`);
    }
    try {
      return new ArchiveFile(path, await open(unfinishedName(path), "w", 0o600));
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Writes everything durably; throws where the bytes don't have the digest (`sha-256=…`) that the server gave. */
  async write(bytes: AsyncIterable<Uint8Array>, digest: string | undefined): Promise<void> {
    const hash = createHash("sha256");
    for await (const chunk of bytes) {
      hash.update(chunk);
      await this.handle.writeFile(chunk);
    }
    const found = `sha-256=${hash.digest("base64")}`;
    if (digest !== undefined && digest !== found) {
      throw new Error(
        `what arrived is not what was sent: its digest is ${found}, and the server says ${digest}`,
      );
    }
    await this.handle.sync();
  }

  async finish(): Promise<void> {
    await rename(this.unfinished, this.path);
    this.#finished = true;
    const folder = await open(dirname(this.path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
    if (this.#finished) return;
    await rm(this.unfinished, { force: true });
    await rm(this.path, { force: true });
  }
}

const unfinishedName = (path: string): string => `${path}.unverified`;
