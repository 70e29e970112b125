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

/**
 * Ids of the allocations of one plan, determined by its seeds. They share their first 16 bits, so that the rows of a plan lie
 * together in the store's trees instead of touching a page each; the next 16 bits differ within the plan, so that the
 * eight digits people type stay as telling as those of random ids.
 */
export class PlanIds {
  readonly #key: readonly number[];
  readonly #step: number;
  #count = 0;

  constructor(...seeds: readonly (string | number)[]) {
    const digest = createHash("sha256").update(seeds.join("\n")).digest();
    this.#key = Array.from({ length: 6 }, (_, i) => digest.readUInt32LE(i * 4));
    // Odd, so that counting by it visits every 16-bit number once.
    this.#step = digest.readUInt16LE(24) | 1;
  }

  /** The next id; the same calls in the same order give the same ids. */
  next(): string {
    const n = this.#count++;
    const [first = 0, start = 0, a = 0, b = 0, c = 0, d = 0] = this.#key;
    const head = (first + (n >>> 16)) & 0xffff;
    const within = (start + Math.imul(n, this.#step)) & 0xffff;
    const seed = mix32(a ^ n);
    return (
      `${hex(head, 4)}${hex(within, 4)}-${hex(mix32(seed ^ b) >>> 16, 4)}-${hex(mix32(seed ^ b) & 0xffff, 4)}` +
      `-${hex(mix32(seed + c) >>> 16, 4)}-${hex(mix32(seed + c) & 0xffff, 4)}${hex(mix32(mix32(seed + d) ^ c), 8)}`
    );
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
