/**
 * The folder of the state and the note beside it that says whether its contents can be trusted.
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
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const NOTE = "state.json";

interface Note {
  readonly boot_id: string;
  readonly clean: boolean;
}

export class StateFolder {
  private readonly note: string;

  constructor(
    /** Folder of the LMDB environment. */
    readonly path: string,
    private readonly bootId = currentBootId(),
  ) {
    this.note = join(path, NOTE);
  }

  /**
   * Makes the folder and says whether the state in it is whole. Where it may be damaged it is removed, and false is
   * returned.
   */
  prepare(): boolean {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const found = existsSync(this.path);
    const trusted = !found || this.trusted();
    if (!trusted) rmSync(this.path, { recursive: true, force: true });
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    return trusted;
  }

  /** Notes that the state is being written under this boot. */
  markOpen(): void {
    this.write({ boot_id: this.bootId, clean: false });
  }

  /** Notes that everything reached the disk. */
  markClean(): void {
    this.write({ boot_id: this.bootId, clean: true });
  }

  private trusted(): boolean {
    const note = this.read();
    return note !== undefined && (note.clean || (note.boot_id === this.bootId && this.bootId !== ""));
  }

  /** The note; undefined where there is none or it is not readable (cut off by a crash, say). */
  private read(): Note | undefined {
    if (!existsSync(this.note)) return undefined;
    try {
      const note = JSON.parse(readFileSync(this.note, "utf8")) as Partial<Note> | null;
      if (typeof note?.boot_id !== "string" || typeof note.clean !== "boolean") return undefined;
      return { boot_id: note.boot_id, clean: note.clean };
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  private write(note: Note): void {
    const temporary = `${this.note}.tmp`;
    const file = openSync(temporary, "w", 0o600);
    try {
      writeSync(file, `${JSON.stringify(note)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, this.note);
    const folder = openSync(this.path, "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }
}

/** Id of this boot of the machine; "" where the kernel does not tell, and then only a clean close is trusted. */
function currentBootId(): string {
  return existsSync(BOOT_ID) ? readFileSync(BOOT_ID, "utf8").trim() : "";
}
