/** Bodies of calls between servers, as MessagePack. Errors cross by themselves: `ServerNetwork` carries them as they were thrown. */
import { Packr } from "msgpackr";
import type { z } from "zod";

const packer = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

export function pack(value: unknown): Uint8Array {
  return new Uint8Array(packer.encode(value));
}

/** Throws an Error that names `what` for bytes that are no MessagePack or of another shape. */
export function unpack<T>(what: string, schema: z.ZodType<T>, packed: Uint8Array): T {
  const parsed = schema.safeParse(decode(what, packed));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Error(
    `${what} has another shape (${issue?.path.join(".") || "root"}: ${issue?.message ?? ""}): do the servers run different versions?`,
  );
}

/** What a server of the same cluster answered, for answers whose form its own endpoint vouches for. */
export function decode(what: string, packed: Uint8Array): unknown {
  try {
    return packer.decode(packed as Buffer);
  } catch (error) {
    throw new Error(`${what} is not readable as MessagePack`, { cause: error });
  }
}
