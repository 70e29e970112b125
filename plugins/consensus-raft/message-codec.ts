/** Raft messages between two servers as frames of MessagePack. */
import { Packr } from "msgpackr";
import { parseConfiguration } from "./core/configuration.js";
import type { Entry, EntryKind, Message, MessageBody, SnapshotMeta } from "./core/types.js";

/** Version of what is written here; two servers speak with each other only where it is the same. */
export const MESSAGE_VERSION = 1;

const packr = new Packr({ useRecords: false });
const ENTRY_KINDS: readonly EntryKind[] = ["command", "noop", "configuration", "restore"];

type FieldType = "count" | "flag" | "entries" | "snapshot";
type Body<T extends MessageBody["type"]> = Extract<MessageBody, { type: T }>;
interface Shape<T extends MessageBody["type"]> {
  /** Its number on the wire, for ever. */
  readonly code: number;
  /** Fields in the order of the wire. */
  readonly fields: { readonly [K in Exclude<keyof Body<T>, "type">]: FieldType };
}

const SHAPES: { readonly [T in MessageBody["type"]]: Shape<T> } = {
  "vote-request": {
    code: 1,
    fields: { pre: "flag", transfer: "flag", lastIndex: "count", lastTerm: "count" },
  },
  "vote-response": { code: 2, fields: { pre: "flag", granted: "flag" } },
  append: {
    code: 3,
    fields: { prevIndex: "count", prevTerm: "count", entries: "entries", commit: "count" },
  },
  "append-accepted": { code: 4, fields: { match: "count" } },
  "append-rejected": {
    code: 5,
    fields: { prevIndex: "count", conflictTerm: "count", conflictIndex: "count" },
  },
  heartbeat: { code: 6, fields: { commit: "count", round: "count" } },
  "heartbeat-response": { code: 7, fields: { round: "count" } },
  "install-snapshot": { code: 8, fields: { snapshot: "snapshot" } },
  "read-request": { code: 9, fields: { context: "count" } },
  "read-response": { code: 10, fields: { context: "count", index: "count" } },
  stale: { code: 11, fields: {} },
  "timeout-now": { code: 12, fields: {} },
};

const BY_CODE = new Map(
  Object.entries(SHAPES).map(([type, { code, fields }]) => [
    code,
    { type: type as MessageBody["type"], fields: Object.entries(fields) as [string, FieldType][] },
  ]),
);

/** `[code, term, field, …]`; sender and receiver are those of the stream. */
export function encodeMessage(message: Message): Buffer {
  const { code, fields } = SHAPES[message.type];
  const values: unknown[] = [code, message.term];
  for (const [name, type] of Object.entries(fields) as [string, FieldType][]) {
    values.push(toWire(type, (message as unknown as Record<string, unknown>)[name]));
  }
  return packr.pack(values);
}

/** Reads a message; its entries share the memory of `body`. Throws an Error that says what is wrong with it. */
export function decodeMessage(body: Buffer, from: string, to: string): Message {
  const values: unknown = packr.unpack(body);
  if (!Array.isArray(values)) throw new Error("a raft message must be a list");
  const known = BY_CODE.get(values[0] as number);
  if (known === undefined) throw new Error(`a raft message of kind ${String(values[0])} is not known here`);
  const message: Record<string, unknown> = { type: known.type, from, to, term: count(values[1], "term") };
  known.fields.forEach(([name, type], position) => {
    message[name] = fromWire(type, values[position + 2], `${name} of ${known.type}`);
  });
  return message as unknown as Message;
}

function toWire(type: FieldType, value: unknown): unknown {
  if (type !== "entries") return value;
  // The first index, then three values an entry: indexes follow each other.
  const entries = value as readonly Entry[];
  const flat: unknown[] = [entries[0]?.index ?? 0];
  for (const { term, kind, data } of entries) flat.push(term, ENTRY_KINDS.indexOf(kind), data);
  return flat;
}

function fromWire(type: FieldType, value: unknown, what: string): unknown {
  switch (type) {
    case "count":
      return count(value, what);
    case "flag":
      if (typeof value !== "boolean") throw new Error(`${what} must be true or false`);
      return value;
    case "entries":
      return readEntries(value, what);
    case "snapshot":
      return readSnapshot(value, what);
  }
}

function readEntries(value: unknown, what: string): Entry[] {
  if (!Array.isArray(value) || value.length % 3 !== 1) throw new Error(`${what} must be a list of entries`);
  const first = count(value[0], what);
  const entries: Entry[] = [];
  for (let position = 1; position < value.length; position += 3) {
    const kind = ENTRY_KINDS[value[position + 1] as number];
    const data: unknown = value[position + 2];
    if (kind === undefined || !(data instanceof Uint8Array)) {
      throw new Error(`${what}: entry ${first + entries.length} is of no kind known here, or has no data`);
    }
    entries.push({ index: first + entries.length, term: count(value[position], what), kind, data });
  }
  return entries;
}

function readSnapshot(value: unknown, what: string): SnapshotMeta {
  const { index, term, configuration } = (value ?? {}) as Partial<SnapshotMeta>;
  return {
    index: count(index, what),
    term: count(term, what),
    configuration: parseConfiguration(configuration),
  };
}

function count(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new Error(`${what} must be a whole number from 0, and is ${String(value)}`);
  }
  return value as number;
}
