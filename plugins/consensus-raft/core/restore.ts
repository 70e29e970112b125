import type { RestoreReference } from "./types.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The data of a `restore` entry, as JSON. */
export function encodeRestore({ id, checksum }: RestoreReference): Uint8Array {
  return encoder.encode(JSON.stringify({ id, checksum }));
}

/** Reads it back; throws a TypeError or SyntaxError that says what is wrong with it. */
export function decodeRestore(data: Uint8Array): RestoreReference {
  const value = JSON.parse(decoder.decode(data)) as Partial<RestoreReference> | null;
  if (typeof value?.id !== "string" || typeof value.checksum !== "string") {
    throw new TypeError("a restore entry of the raft log lacks id or checksum");
  }
  return { id: value.id, checksum: value.checksum };
}
