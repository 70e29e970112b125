/**
 * Layout of the node columns in shared memory, as both sides know it.
 *
 * Buffers are given their largest size as reserved address space at once and grow into it, so a thread that attached
 * early sees all that comes later. Ids, names and values of attributes are in a journal that is appended to, and
 * rewritten as a whole when most of it is obsolete.
 */
import type { ColumnBuffers } from "@drover/plugin-sdk";

/** Nodes that the columns can hold. */
export const MAX_ROWS = 1 << 17;
/** Distinct attribute and metadata keys, over all nodes, that the columns can hold. */
export const MAX_COLUMNS = 1 << 12;
/** Bytes the journal may grow to. */
export const MAX_JOURNAL = 1 << 29;

/** Words of the header. */
export const Header = {
  /** Counts up after every change of anything. */
  Version: 0,
  /** Rows in use: all numbers are below. */
  Rows: 1,
  /** Rewrites of the journal, times two; odd while one is under way. */
  Generation: 2,
  /** Bytes of the journal that may be read. */
  Journal: 3,
  /** Counts up after every change of a node, of its status or its attributes. */
  NodesVersion: 4,
} as const;
export const HEADER_WORDS = 16;

/** Kinds of journal records. Each is `[kind, a, b, bytes]` as 32-bit words and then text, padded to whole words. */
export const JournalKind = {
  /** Column `a` is the attribute named by the text. */
  Column: 1,
  /** Code `b` of column `a` means the text. */
  Value: 2,
  /** Row `a` is the node whose id is the text. */
  Node: 3,
  /** Row `a` is unused. */
  Gone: 4,
} as const;
export const JOURNAL_RECORD_WORDS = 4;

export const NUMBER_COLUMNS = [
  "cpuTotal",
  "cpuUsed",
  "memoryTotal",
  "memoryUsed",
  "diskTotal",
  "diskUsed",
] as const;
export type NumberColumn = (typeof NUMBER_COLUMNS)[number];

/** Largest size of each buffer, bytes. */
export const BUFFER_LIMITS: Readonly<Record<string, number>> = {
  header: HEADER_WORDS * Int32Array.BYTES_PER_ELEMENT,
  status: MAX_ROWS,
  ...Object.fromEntries(NUMBER_COLUMNS.map((name) => [name, MAX_ROWS * Float64Array.BYTES_PER_ELEMENT])),
  /** Column after column, each with room for every row. */
  codes: MAX_COLUMNS * MAX_ROWS * Uint32Array.BYTES_PER_ELEMENT,
  journal: MAX_JOURNAL,
};

/** Bytes from one column of codes to the next. */
export const CODE_STRIDE = MAX_ROWS * Uint32Array.BYTES_PER_ELEMENT;

export function allocateColumnBuffers(): ColumnBuffers {
  return Object.fromEntries(
    Object.entries(BUFFER_LIMITS).map(([name, limit]) => {
      const initial = name === "header" ? limit : 0;
      return [name, new SharedArrayBuffer(initial, { maxByteLength: limit })];
    }),
  );
}

/** The buffer of that name. Throws for buffers that some other version made. */
export function columnBuffer(buffers: ColumnBuffers, name: string): SharedArrayBuffer {
  const buffer = buffers[name];
  if (buffer === undefined) throw new Error(`shared node columns have no buffer "${name}"`);
  return buffer;
}
