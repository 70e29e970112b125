/**
 * What the agent must know after its own death: the allocations it should run and how far each task got. Two private
 * files an allocation in `<state>/allocations/`: `<id>.assigned.json` as the server sent it, `<id>.status.json` as it
 * stands here. Tokens for tasks never get here.
 */
import { mkdir, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { AllocDeploymentStatus, AssignedAllocation, Logger } from "@drover/plugin-sdk";
import type { TaskRecord } from "../task/runner.js";
import { AtomicFile, type WriteObserver } from "./atomic-file.js";

/** Version of both files' content. */
const VERSION = 1;

export interface AllocationStatus {
  readonly tasks: Record<string, TaskRecord>;
  readonly deploymentStatus: AllocDeploymentStatus | null;
  /** Deployment that `deploymentStatus` belongs to. */
  readonly deploymentId: string;
  /** The servers have acknowledged the final status. */
  readonly reported: boolean;
}

export interface StoredAllocation {
  readonly allocation: AssignedAllocation;
  readonly status: AllocationStatus | undefined;
}

export class AllocationStore {
  private readonly files = new Map<string, AtomicFile>();
  private readonly failures = new Map<string, string>();
  private readonly observer: WriteObserver;

  private constructor(
    private readonly folder: string,
    private readonly log: Logger,
  ) {
    this.observer = {
      failed: (path, error) => {
        this.failures.set(path, error.message);
        log.error({ path, error: error.message }, "the client's state can't be written; trying again");
      },
      recovered: (path) => {
        this.failures.delete(path);
        log.info({ path }, "the client's state is written again");
      },
    };
  }

  static async open(stateDir: string, log: Logger): Promise<AllocationStore> {
    const folder = join(stateDir, "allocations");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new AllocationStore(folder, log);
  }

  /** Why the state is not on disk; undefined while it is. */
  failure(): string | undefined {
    return this.failures.values().next().value;
  }

  /** Everything on disk. A file that can't be read is set aside and told, and the rest goes on. */
  async load(): Promise<StoredAllocation[]> {
    const found: StoredAllocation[] = [];
    for (const name of await readdir(this.folder)) {
      if (!name.endsWith(".assigned.json")) continue;
      const id = name.slice(0, -".assigned.json".length);
      const allocation = await this.read<AssignedAllocation>(name);
      if (allocation === undefined) continue;
      found.push({ allocation, status: await this.read<AllocationStatus>(`${id}.status.json`) });
    }
    return found;
  }

  saveAllocation(allocation: AssignedAllocation): Promise<void> {
    return this.save(`${allocation.ID}.assigned.json`, allocation);
  }

  saveStatus(id: string, status: AllocationStatus): Promise<void> {
    return this.save(`${id}.status.json`, status);
  }

  async remove(id: string): Promise<void> {
    for (const name of [`${id}.assigned.json`, `${id}.status.json`]) {
      await this.file(name).remove();
      this.files.delete(name);
      this.failures.delete(join(this.folder, name));
    }
  }

  close(): void {
    for (const file of this.files.values()) file.close();
  }

  private save(name: string, content: unknown): Promise<void> {
    return this.file(name).save(JSON.stringify({ version: VERSION, content }));
  }

  private file(name: string): AtomicFile {
    let file = this.files.get(name);
    if (file === undefined) {
      file = new AtomicFile(join(this.folder, name), this.observer);
      this.files.set(name, file);
    }
    return file;
  }

  private async read<T>(name: string): Promise<T | undefined> {
    const path = join(this.folder, name);
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    try {
      const { version, content } = JSON.parse(text) as { version: number; content: T };
      if (version !== VERSION) throw new Error(`its version is ${version}, this agent reads ${VERSION}`);
      return content;
    } catch (error) {
      await rename(path, `${path}.unreadable`);
      this.log.error(
        { path, error: (error as Error).message },
        "a file of the client's state can't be read and was set aside as .unreadable",
      );
      return undefined;
    }
  }
}
