/**
 * Keys of the tables. Ids are UUIDs almost always and then take 16 bytes; any other id is written as text behind a byte
 * that keeps the two apart. Composite keys are text, their parts divided by a zero byte, which no part may contain.
 */

/** An id or name that can't be a key: too long, or with a null character. */
export class KeyError extends RangeError {
  override readonly name = "KeyError";
}

/** Turns keys into bytes at `start` of `target` and back; the shape that `lmdb` wants. */
export interface KeyEncoder {
  writeKey(key: string | Uint8Array, target: Buffer, start: number): number;
  readKey(source: Buffer, start: number, end: number): string;
}

/** Bytes of a UUID. */
export const UUID_BYTES = 16;
/** First byte of an id that is no UUID. */
const TEXT_ID = 0xff;
/** Longest id in bytes; LMDB's own bound on keys and sorted duplicates is 1,978. */
export const MAX_ID_BYTES = 1_024;

const NIBBLE = new Int8Array(128).fill(-1);
for (const [value, digit] of [..."0123456789abcdef"].entries()) NIBBLE[digit.charCodeAt(0)] = value;

/** Writes the 16 bytes of a lower-case UUID; false, with the target undefined, where it is not one. */
function writeUuid(id: string, target: Uint8Array, start: number): boolean {
  if (id.length !== 36) return false;
  let at = start;
  for (let i = 0; i < 36; ) {
    if (i === 8 || i === 13 || i === 18 || i === 23) {
      if (id.charCodeAt(i) !== 45) return false;
      i += 1;
    }
    const high = id.charCodeAt(i);
    const low = id.charCodeAt(i + 1);
    if (high > 127 || low > 127) return false;
    const byte = ((NIBBLE[high] as number) << 4) | (NIBBLE[low] as number);
    if (byte < 0) return false;
    target[at] = byte;
    at += 1;
    i += 2;
  }
  return true;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function readUuid(b: Uint8Array, s: number): string {
  const hex = (i: number): string => HEX[b[s + i] as number] as string;
  return `${hex(0)}${hex(1)}${hex(2)}${hex(3)}-${hex(4)}${hex(5)}-${hex(6)}${hex(7)}-${hex(8)}${hex(9)}-${hex(10)}${hex(11)}${hex(12)}${hex(13)}${hex(14)}${hex(15)}`;
}

/** Bytes of an id, 16 for a UUID. */
export function encodeId(id: string): Buffer {
  const bytes = Buffer.allocUnsafe(UUID_BYTES);
  if (writeUuid(id, bytes, 0)) return bytes;
  const length = Buffer.byteLength(id);
  if (length > MAX_ID_BYTES) throw new KeyError(`id of ${length} bytes is longer than ${MAX_ID_BYTES}`);
  // A text id must never be 16 bytes long: that length means a UUID.
  const text = Buffer.alloc(length + 1 === UUID_BYTES ? length + 2 : length + 1);
  text[0] = TEXT_ID;
  text.write(id, 1);
  return text;
}

/** The id that `encodeId` wrote. */
export function decodeId(bytes: Uint8Array, start = 0, end = bytes.length): string {
  if (end - start === UUID_BYTES) return readUuid(bytes, start);
  const last = end - start === UUID_BYTES + 1 && bytes[end - 1] === 0 ? end - 1 : end;
  return Buffer.from(bytes.buffer, bytes.byteOffset + start + 1, last - start - 1).toString("utf8");
}

export const idKeys: KeyEncoder = {
  writeKey(key, target, start) {
    if (typeof key === "string") {
      if (writeUuid(key, target, start)) return start + UUID_BYTES;
      const bytes = encodeId(key);
      target.set(bytes, start);
      return start + bytes.length;
    }
    target.set(key, start);
    return start + key.length;
  },
  readKey: (source, start, end) => decodeId(source, start, end),
};

export const textKeys: KeyEncoder = {
  writeKey(key, target, start) {
    if (typeof key === "string") return start + target.write(key, start, "utf8");
    target.set(key, start);
    return start + key.length;
  },
  readKey: (source, start, end) => source.toString("utf8", start, end),
};

/** Where scans over ids with this prefix begin: among the UUIDs (undefined where none can match), and among the rest. */
export function idScanStarts(prefix: string): { readonly uuid: Buffer | undefined; readonly text: Buffer } {
  const digits = prefix.replaceAll("-", "");
  const uuid = /^[0-9a-f]{0,32}$/.test(digits)
    ? Buffer.from(digits.length % 2 === 0 ? digits : `${digits}0`, "hex")
    : undefined;
  return { uuid, text: Buffer.concat([Buffer.from([TEXT_ID]), Buffer.from(prefix)]) };
}

/** Joins the parts of a composite key. Throws a KeyError for a part with a zero byte in it. */
export function compositeKey(...parts: readonly string[]): string {
  for (const part of parts) {
    if (part.includes("\0"))
      throw new KeyError(`"${part.replaceAll("\0", "\\0")}" contains a null character`);
  }
  return parts.join("\0");
}

/** Key of rows and index entries of one job. */
export function jobKey(namespace: string, id: string): string {
  if (namespace.length + id.length > MAX_ID_BYTES / 4) {
    throw new KeyError(
      `job "${id.slice(0, 64)}…": namespace and id have more than ${MAX_ID_BYTES / 4} characters`,
    );
  }
  return `${namespace}\0${id}`;
}

/** Fixed-width decimal, so that text order is numeric order. */
function ordinal(value: number): string {
  return value.toString().padStart(16, "0");
}

/** Key of a job version; `createIndex` tells a purged job from a later one of the same name. */
export function jobVersionKey(namespace: string, id: string, createIndex: number, version: number): string {
  return `${namespace}\0${id}\0${ordinal(createIndex)}\0${ordinal(version)}`;
}

/** Key of what belongs to one log entry. */
export function indexKey(index: number): string {
  return ordinal(index);
}
