import { rename } from "node:fs/promises";
import type { Logger } from "@drover/plugin-sdk";
import type { KeyPair } from "./envelope.js";
import { createKeyPair, isKeyPair, loadClusterKey, saveClusterKey } from "./keys.js";

/** The cluster's key pair as this server holds it: in a private file, or in memory with `-dev`. */
export class ClusterKeys {
  private constructor(
    private held: KeyPair | undefined,
    private readonly file: string | undefined,
    private readonly log: Logger,
  ) {}

  /** Reads `file`. Rejects for a damaged one. */
  static async open(file: string, log: Logger): Promise<ClusterKeys> {
    return new ClusterKeys(await loadClusterKey(file, log), file, log);
  }

  static inMemory(log: Logger, pair?: KeyPair): ClusterKeys {
    return new ClusterKeys(pair, undefined, log);
  }

  get pair(): KeyPair | undefined {
    return this.held;
  }

  /** Makes another pair and keeps it. */
  async create(): Promise<KeyPair> {
    const pair = createKeyPair();
    await this.keep(pair);
    if (this.file !== undefined) {
      this.log.info(
        { file: this.file },
        "made the cluster's key pair: keep a copy, without it every node must enrol again",
      );
    }
    return pair;
  }

  /** Keeps the pair in the place of the present one. Rejects where its halves don't belong together. */
  async adopt(pair: KeyPair): Promise<void> {
    if (!isKeyPair(pair)) throw new Error("the cluster's key that another server gave is damaged");
    await this.keep({
      publicKey: Uint8Array.from(pair.publicKey),
      secretKey: Uint8Array.from(pair.secretKey),
    });
  }

  private async keep(pair: KeyPair): Promise<void> {
    if (this.file !== undefined) {
      // A server that comes from another cluster still holds that one's key, of which this may be the only copy.
      if (this.held !== undefined) await this.setAside(this.file, this.held);
      await saveClusterKey(this.file, pair);
    }
    this.held = pair;
  }

  private async setAside(file: string, pair: KeyPair): Promise<void> {
    const name = Buffer.from(pair.publicKey.subarray(0, 4)).toString("hex");
    const kept = `${file}.${name}`;
    try {
      await rename(file, kept);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return;
    }
    this.log.warn({ file: kept }, `this server's key was not that of its cluster; it is kept in ${kept}`);
  }
}
