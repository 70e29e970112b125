import { createHash } from "node:crypto";
import { LogDamagedError, type RestoreReference } from "@drover/plugin-sdk/consensus";
import { Packr } from "msgpackr";
import { z } from "zod";

const FORMAT = 1;
const packr = new Packr({ useRecords: false });

/** An entry's place in the log. */
export interface Position {
  readonly index: number;
  readonly term: number;
}
export const START: Position = { index: 0, term: 0 };

/** A command that lies in pieces under keys of its own. */
export interface PartsReference {
  readonly count: number;
  readonly bytes: number;
  readonly sha256: string;
}

/** One key of the log: entries that were written in one transaction. */
export type Batch = {
  readonly term: number;
  /** Indexes of the first entry and the last one. */
  readonly first: number;
  readonly last: number;
} & (
  | { readonly type: "entries"; readonly entries: readonly Uint8Array[] }
  | { readonly type: "parts"; readonly parts: PartsReference }
  | { readonly type: "restore"; readonly restore: RestoreReference }
);

const index = z.int().min(0);
const Stored = z.strictObject({
  f: z.int(),
  t: index,
  i: index,
  e: z.array(z.instanceof(Uint8Array)).min(1).optional(),
  p: z.strictObject({ count: z.int().min(1), bytes: index, sha256: z.string() }).optional(),
  r: z.strictObject({ id: z.uuid(), checksum: z.string() }).optional(),
});

/** MessagePack: format, term, first index, and one of entries, parts, restore. */
export function encodeBatch(batch: Batch): Buffer {
  const content =
    batch.type === "entries"
      ? { e: batch.entries }
      : batch.type === "parts"
        ? { p: batch.parts }
        : { r: batch.restore };
  return packr.pack({ f: FORMAT, t: batch.term, i: batch.first, ...content });
}

/** Throws `LogDamagedError` for a value that this version did not write, naming its key. */
export function decodeBatch(key: string, last: number, value: Buffer): Batch {
  const fail = (why: string, cause?: unknown) =>
    new LogDamagedError(`the log record ${key} in etcd ${why}`, cause === undefined ? undefined : { cause });
  let stored: z.output<typeof Stored>;
  try {
    const raw: unknown = packr.unpack(value);
    const format = (raw as { f?: unknown } | null)?.f;
    if (typeof format === "number" && format !== FORMAT) {
      throw new Error(
        `has format ${format}, and this version reads ${FORMAT}; run the newer version of Drover`,
      );
    }
    stored = Stored.parse(raw);
  } catch (error) {
    throw fail(`can't be read: ${(error as Error).message}`, error);
  }
  const { t: term, i: first, e: entries, p: parts, r: restore } = stored;
  const of = { term, first, last };
  const holds = (count: number) => {
    if (last - first + 1 !== count)
      throw fail(`holds ${count} entries from ${first} on and is named ${last}`);
  };
  if (entries !== undefined && parts === undefined && restore === undefined) {
    holds(entries.length);
    return { ...of, type: "entries", entries };
  }
  if (entries !== undefined || (parts === undefined) === (restore === undefined)) {
    throw fail("must hold one of entries, parts and a restore");
  }
  holds(1);
  return parts === undefined
    ? { ...of, type: "restore", restore: restore! }
    : { ...of, type: "parts", parts };
}

export function encodePosition({ index, term }: Position): Buffer {
  return Buffer.from(`${index} ${term}`);
}

/** The start of the log where there is no value. */
export function decodePosition(key: string, value: Buffer | undefined): Position {
  if (value === undefined) return START;
  const found = /^(\d{1,16}) (\d{1,16})$/.exec(value.toString("latin1"));
  if (found === null)
    throw new LogDamagedError(`${key} in etcd is not "INDEX TERM"; restore etcd from a backup`);
  return { index: Number(found[1]), term: Number(found[2]) };
}

export const ClusterRecord = z.object({ format: z.int(), id: z.uuid(), region: z.string() });
export type ClusterRecord = z.output<typeof ClusterRecord>;

/** A server, as it writes itself down. */
export const ServerRecord = z.object({
  id: z.string().min(1),
  address: z.string().min(1),
  /** Of the process, so that two with one id are told apart. */
  instance: z.uuid(),
  /** Last applied entry, and newest snapshot. */
  index,
  term: index,
  snapshot: index,
});
export type ServerRecord = z.output<typeof ServerRecord>;

export const LeaderRecord = ServerRecord.pick({ id: true, address: true, instance: true });
export type LeaderRecord = z.output<typeof LeaderRecord>;

/** The leader of `term` asks server `to` to take over. */
export const HandoverRecord = z.object({ to: z.string(), term: index });
export type HandoverRecord = z.output<typeof HandoverRecord>;

export function encodeRecord(record: ClusterRecord | ServerRecord | LeaderRecord | HandoverRecord): Buffer {
  return Buffer.from(JSON.stringify(record));
}

/** Throws `LogDamagedError` for a value of another shape, naming its key. */
export function decodeRecord<T>(schema: z.ZodType<T>, key: string, value: Buffer): T {
  try {
    return schema.parse(JSON.parse(value.toString("utf8")));
  } catch (error) {
    throw new LogDamagedError(
      `${key} in etcd is not what Drover writes there (${(error as Error).message}); use another prefix, or remove the key`,
      { cause: error },
    );
  }
}

export function sha256(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}
