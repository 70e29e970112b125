/** Identifiers: UUIDs and names of allocations. */
import { randomUUID } from "node:crypto";

const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
const ALLOC_INDEX = /\[(\d{1,15})\]$/;

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
  const match = ALLOC_INDEX.exec(name);
  return match === null ? -1 : Number(match[1]);
}
