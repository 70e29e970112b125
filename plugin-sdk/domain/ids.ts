/** Identifiers: UUIDs and names of allocations. */
import { randomUUID } from "node:crypto";

const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
/** Digits of the largest index. */
const INDEX_DIGITS = 15;
const CODE = { zero: 48, open: 91, close: 93 } as const;

/** A fresh random id, 36 characters, lower case. */
export function generateUUID(): string {
  return randomUUID();
}

/** True for 36 characters in UUID layout. Any version: Nomad's are plain random bits. */
export function isUUID(value: string): boolean {
  return UUID.test(value);
}

/** Name of an allocation: `web.app[0]`. */
export function allocName(jobID: string, group: string, index: number): string {
  return `${jobID}.${group}[${index}]`;
}

/** Index in an allocation's name, or -1 when the name carries none. */
export function allocIndexOf(name: string): number {
  // Asked for every allocation of a job, so by hand.
  const last = name.length - 1;
  if (name.charCodeAt(last) !== CODE.close) return -1;
  let at = last - 1;
  let index = 0;
  for (let scale = 1; at >= 0 && last - at <= INDEX_DIGITS; at--, scale *= 10) {
    const digit = name.charCodeAt(at) - CODE.zero;
    if (digit < 0 || digit > 9) break;
    index += digit * scale;
  }
  return at < last - 1 && name.charCodeAt(at) === CODE.open ? index : -1;
}
