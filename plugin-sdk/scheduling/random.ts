/** Randomness that comes out the same for the same evaluation, so that a plan can be made again and compared. */
import { createHash } from "node:crypto";

/** 32-bit FNV-1a of a text. */
export function hashText(text: string, basis = 0x811c9dc5): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Scrambles 32 bits (finalizer of MurmurHash3). */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A generator of numbers in [0, 1) that is determined by its seeds. */
export function seededRandom(...seeds: readonly string[]): () => number {
  let state = 0x811c9dc5;
  for (const seed of seeds) state = hashText(seed, state) + 0x9e3779b9;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return mix32(state) / 0x1_0000_0000;
  };
}

/** An id in UUID layout that is determined by its seeds and as hard to meet twice as a random one. */
export function seededUUID(...seeds: readonly (string | number)[]): string {
  const hex = createHash("sha256").update(seeds.join("\n")).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}
