/**
 * The folder of the state: the LMDB environment, and the note that says whether its contents can be trusted.
 *
 * The environment is written without waiting for the disk. That is safe against the death of the process, because the
 * pages are the kernel's by then, but not against the death of the machine. So the note holds the kernel's boot id: written
 * under another boot and not closed in order means that pages may be missing, and the state is rebuilt from snapshot and
 * log instead.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DATA_FILE, LOCK_FILE } from "./read/environment.js";
import {
  environmentOf,
  LATER_ENVIRONMENT,
  NOTE_FILE,
  readStateNote,
  type StateNote,
} from "./read/state-note.js";

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

export class StateFolder {
  readonly #note: string;
  /** Name of the environment in force; undefined for the first one. */
  #environment: string | undefined;

  constructor(
    readonly path: string,
    private readonly bootId = currentBootId(),
  ) {
    this.#note = join(path, NOTE_FILE);
  }

  /** Folder of the environment in force. */
  get environment(): string {
    return join(this.path, this.#environment ?? "");
  }

  /**
   * Makes the folder and says whether the state in it is whole. Where it may be damaged it is removed, and false is
   * returned. What an interrupted replacement left is removed, too.
   */
  prepare(): boolean {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const note = readStateNote(this.path);
    const trusted = !existsSync(this.path) || this.#trusts(note);
    if (!trusted) rmSync(this.path, { recursive: true, force: true });
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    this.#environment = trusted ? note?.environment : undefined;
    for (const name of this.#others()) rmSync(join(this.path, name), { recursive: true, force: true });
    return trusted;
  }

  /** Notes that the state is being written under this boot. */
  markOpen(): void {
    this.#write(false);
  }

  /** Notes that everything reached the disk. */
  markClean(): void {
    this.#write(true);
  }

  /** Copies the data file of an environment into a new one, which is not in force; gives its name. */
  async copyIn(file: string): Promise<string> {
    const present = LATER_ENVIRONMENT.exec(this.#environment ?? "")?.[1] ?? "0";
    const name = `environment-${Number(present) + 1}`;
    await this.discard(name);
    const folder = this.pathOf(name);
    await mkdir(folder, { mode: 0o700 });
    await copyFile(file, join(folder, DATA_FILE));
    return name;
  }

  pathOf(name: string): string {
    return join(this.path, name);
  }

  /** Removes an environment that did not come into force. */
  async discard(name: string): Promise<void> {
    await rm(this.pathOf(name), { recursive: true, force: true });
  }

  /** Puts another environment in force: before this returns it is the old one after a crash, from then on the new one. */
  switchTo(name: string): void {
    syncFolder(this.pathOf(name));
    const before = this.#environment;
    this.#environment = name;
    try {
      this.#write(false);
    } catch (error) {
      this.#environment = before;
      throw error;
    }
  }

  /** Removes the environments that are not in force. Who has one open keeps it until it is closed. */
  async sweep(): Promise<void> {
    for (const name of this.#others()) await rm(join(this.path, name), { recursive: true, force: true });
  }

  /** Names of what belongs to environments that are not in force. */
  #others(): string[] {
    const first: readonly string[] = this.#environment === undefined ? [] : [DATA_FILE, LOCK_FILE];
    return readdirSync(this.path).filter(
      (name) => first.includes(name) || (LATER_ENVIRONMENT.test(name) && name !== this.#environment),
    );
  }

  #trusts(note: StateNote | undefined): boolean {
    if (note === undefined || !(note.clean || (note.boot_id === this.bootId && this.bootId !== "")))
      return false;
    return existsSync(environmentOf(this.path, note));
  }

  #write(clean: boolean): void {
    const note: StateNote = {
      boot_id: this.bootId,
      clean,
      ...(this.#environment === undefined ? {} : { environment: this.#environment }),
    };
    const temporary = `${this.#note}.tmp`;
    const file = openSync(temporary, "w", 0o600);
    try {
      writeSync(file, `${JSON.stringify(note)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, this.#note);
    syncFolder(this.path);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Id of this boot of the machine; "" where the kernel does not tell, and then only a clean close is trusted. */
function currentBootId(): string {
  return existsSync(BOOT_ID) ? readFileSync(BOOT_ID, "utf8").trim() : "";
}
