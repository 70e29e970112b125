import { crc32 } from "node:zlib";

/** A small JSON value with its checksum in front, as text: `crc32 json`. */
export function encodeMeta(value: unknown): Buffer {
  const json = JSON.stringify(value);
  return Buffer.from(`${crc32(json).toString(16)} ${json}`);
}

export function decodeMeta(record: Buffer): unknown {
  const text = record.toString("utf8");
  const space = text.indexOf(" ");
  const json = text.slice(space + 1);
  if (text.slice(0, space) !== crc32(json).toString(16)) throw new Error("its checksum does not match");
  return JSON.parse(json);
}
