import { crc32 } from "node:zlib";
import type { Entry, EntryKind } from "./core/types.js";

/**
 * An entry on disk, little endian: CRC-32 of the rest (4 bytes), format (1), kind (1), zero (2), term (8), index (8), data.
 * The checksum tells a damaged record from a good one; LMDB itself keeps none.
 */
const HEADER = 24;
const FORMAT = 1;
const KINDS: readonly EntryKind[] = ["command", "noop", "configuration", "restore"];

export function encodeRecord(entry: Entry): Buffer {
  const record = Buffer.allocUnsafe(HEADER + entry.data.length);
  record.writeUInt8(FORMAT, 4);
  record.writeUInt8(KINDS.indexOf(entry.kind), 5);
  record.writeUInt16LE(0, 6);
  record.writeBigUInt64LE(BigInt(entry.term), 8);
  record.writeBigUInt64LE(BigInt(entry.index), 16);
  record.set(entry.data, HEADER);
  record.writeUInt32LE(crc32(record.subarray(4)), 0);
  return record;
}

/** Reads a record back; throws an Error that says what is wrong with it. */
export function decodeRecord(record: Buffer, index: number): Entry {
  if (record.length < HEADER) throw new Error(`it is ${record.length} bytes long, shorter than its header`);
  const stored = record.readUInt32LE(0);
  const actual = crc32(record.subarray(4));
  if (stored !== actual) {
    throw new Error(`its checksum is ${actual.toString(16)}, and ${stored.toString(16)} was stored`);
  }
  const format = record.readUInt8(4);
  if (format !== FORMAT) throw new Error(`its format is ${format}, and this version reads ${FORMAT}`);
  const kind = KINDS[record.readUInt8(5)];
  if (kind === undefined)
    throw new Error(`its kind is ${record.readUInt8(5)}, which this version does not know`);
  const own = Number(record.readBigUInt64LE(16));
  if (own !== index) throw new Error(`it says that it is entry ${own}`);
  return {
    index,
    term: Number(record.readBigUInt64LE(8)),
    kind,
    data: new Uint8Array(record.subarray(HEADER)),
  };
}
