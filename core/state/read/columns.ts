/** The node columns as scheduling threads see them. */
import type { ColumnBuffers, NodeColumns } from "@drover/plugin-sdk";
import {
  CODE_STRIDE,
  columnBuffer,
  Header,
  JOURNAL_RECORD_WORDS,
  JournalKind,
  type NumberColumn,
} from "./column-memory.js";
import { encodeId, UUID_BYTES } from "./keys.js";
import { UuidRows } from "./uuid-rows.js";

const WORD = Uint32Array.BYTES_PER_ELEMENT;

interface Column {
  readonly values: (string | undefined)[];
  readonly offset: number;
}

/** What the journal says, as far as it was read. */
class Dictionary {
  readonly columns = new Map<string, Column>();
  readonly byNumber: (Column | undefined)[] = [];
  readonly ids: (string | undefined)[] = [];
  readonly rows = new Map<string, number>();
  readonly uuids = new UuidRows();
  /** Bytes read. */
  position = 0;

  constructor(readonly generation: number) {}

  read(journal: SharedArrayBuffer, end: number): void {
    if (end <= this.position) return;
    // A copy, because text decoders don't take shared memory.
    const bytes = Buffer.from(new Uint8Array(journal, this.position, end - this.position));
    for (let at = 0; at < bytes.length; ) {
      const word = (i: number): number => bytes.readUInt32LE(at + i * WORD);
      const [kind, a, b, size] = [word(0), word(1), word(2), word(3)];
      const textAt = at + JOURNAL_RECORD_WORDS * WORD;
      this.take(kind, a, b, bytes.toString("utf8", textAt, textAt + size));
      at = textAt + Math.ceil(size / WORD) * WORD;
    }
    this.position = end;
  }

  private take(kind: number, a: number, b: number, text: string): void {
    switch (kind) {
      case JournalKind.Column: {
        const column: Column = { values: [undefined], offset: a * CODE_STRIDE };
        this.columns.set(text, column);
        this.byNumber[a] = column;
        break;
      }
      case JournalKind.Value: {
        const column = this.byNumber[a];
        if (column === undefined)
          throw new Error(`journal of the node columns: value for unknown column ${a}`);
        column.values[b] = text;
        break;
      }
      case JournalKind.Node:
        this.forget(a);
        this.ids[a] = text;
        this.rows.set(text, a);
        this.note(text, a);
        break;
      case JournalKind.Gone:
        this.forget(a);
        break;
      default:
        throw new Error(`journal of the node columns: unknown record ${kind}`);
    }
  }

  private note(id: string, row: number): void {
    const bytes = encodeId(id);
    if (bytes.length === UUID_BYTES) this.uuids.set(bytes, row);
  }

  private forget(row: number): void {
    const id = this.ids[row];
    if (id !== undefined && this.rows.get(id) === row) {
      this.rows.delete(id);
      const bytes = encodeId(id);
      if (bytes.length === UUID_BYTES) this.uuids.delete(bytes);
    }
    this.ids[row] = undefined;
  }
}

const NO_VALUES: readonly (string | undefined)[] = [undefined];
/** Tries to read a journal that is being rewritten; a rewrite takes milliseconds. */
const MAX_TRIES = 10_000_000;

/** Attaches to the columns of the main thread. Arrays are views into shared memory: they show changes as they happen. */
export class SharedNodeColumns implements NodeColumns {
  private readonly header: Int32Array;
  private dictionary = new Dictionary(-1);
  private syncedVersion = -1;
  /** Views by buffer and position, made anew when the rows in use grow. */
  private readonly views = new Map<string, Uint8Array | Float64Array | Uint32Array>();

  constructor(private readonly buffers: ColumnBuffers) {
    this.header = new Int32Array(columnBuffer(buffers, "header"));
  }

  get length(): number {
    return Atomics.load(this.header, Header.Rows);
  }

  get version(): number {
    return Atomics.load(this.header, Header.Version);
  }

  get nodesVersion(): number {
    return Atomics.load(this.header, Header.NodesVersion);
  }

  get status(): Uint8Array {
    const length = this.length;
    const view = this.views.get("status");
    if (view?.length === length) return view as Uint8Array;
    const made = new Uint8Array(columnBuffer(this.buffers, "status"), 0, length);
    this.views.set("status", made);
    return made;
  }

  get cpuTotal(): Float64Array {
    return this.numbers("cpuTotal");
  }
  get cpuUsed(): Float64Array {
    return this.numbers("cpuUsed");
  }
  get memoryTotal(): Float64Array {
    return this.numbers("memoryTotal");
  }
  get memoryUsed(): Float64Array {
    return this.numbers("memoryUsed");
  }
  get diskTotal(): Float64Array {
    return this.numbers("diskTotal");
  }
  get diskUsed(): Float64Array {
    return this.numbers("diskUsed");
  }

  nodeId(row: number): string | undefined {
    return this.sync().ids[row];
  }

  row(nodeId: string): number | undefined {
    return this.sync().rows.get(nodeId);
  }

  rowsOf(ids: Uint8Array, rows: Int32Array): void {
    const { uuids } = this.sync();
    for (let i = 0; i < rows.length; i++) rows[i] = uuids.get(ids, i * UUID_BYTES) ?? -1;
  }

  codes(key: string): Uint32Array {
    const column = this.sync().columns.get(key);
    const length = this.length;
    const name = column === undefined ? "" : `codes ${column.offset}`;
    const view = this.views.get(name);
    if (view?.length === length) return view as Uint32Array;
    const made =
      column === undefined
        ? new Uint32Array(length)
        : new Uint32Array(columnBuffer(this.buffers, "codes"), column.offset, length);
    this.views.set(name, made);
    return made;
  }

  values(key: string): readonly (string | undefined)[] {
    return this.sync().columns.get(key)?.values ?? NO_VALUES;
  }

  private numbers(name: NumberColumn): Float64Array {
    const length = this.length;
    const view = this.views.get(name);
    if (view?.length === length) return view as Float64Array;
    const made = new Float64Array(columnBuffer(this.buffers, name), 0, length);
    this.views.set(name, made);
    return made;
  }

  /** Reads what the journal has gained since the last call. */
  private sync(): Dictionary {
    const version = this.version;
    if (version === this.syncedVersion) return this.dictionary;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const generation = Atomics.load(this.header, Header.Generation);
      if (generation % 2 === 1) continue;
      if (generation !== this.dictionary.generation) {
        this.dictionary = new Dictionary(generation);
        this.views.clear();
      }
      const dictionary = this.dictionary;
      const end = Atomics.load(this.header, Header.Journal);
      if (this.tryRead(dictionary, end, generation)) {
        this.syncedVersion = version;
        return dictionary;
      }
      this.dictionary = new Dictionary(-1);
    }
    throw new Error(
      "shared node columns: the journal was being rewritten all the time; did the main thread stop in it?",
    );
  }

  /** False when the journal was rewritten meanwhile, so that what was read may be torn. */
  private tryRead(dictionary: Dictionary, end: number, generation: number): boolean {
    const unchanged = (): boolean => Atomics.load(this.header, Header.Generation) === generation;
    try {
      dictionary.read(columnBuffer(this.buffers, "journal"), end);
    } catch (error) {
      if (unchanged()) throw error;
      return false;
    }
    return unchanged();
  }
}
