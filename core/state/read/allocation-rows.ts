/**
 * Rows of allocations. One that a plan placed refers to the plan's block, where everything is that it shares with its
 * neighbours, and holds of its own only what has changed since. Rows of the first layout hold everything themselves.
 */
import { isDeepStrictEqual } from "node:util";
import type { Allocation } from "@drover/plugin-sdk";
import type { Packr } from "msgpackr";
import type { Commit, PlanBlock } from "./plan-block.js";
import type { RowEncoder } from "./row-encoder.js";

/** Fields by the number that a row has for them. Append only: the numbers are in every stored row. */
const CHANGEABLE = [
  "AllocModifyIndex",
  "AllocStates",
  "ClientDescription",
  "ClientStatus",
  "CreateIndex",
  "CreateTime",
  "DeploymentID",
  "DeploymentStatus",
  "DesiredDescription",
  "DesiredStatus",
  "DesiredTransition",
  "EvalID",
  "FollowupEvalID",
  "JobCreateIndex",
  "JobVersion",
  "ModifyIndex",
  "ModifyTime",
  "NetworkStatus",
  "NextAllocation",
  "PreemptedAllocations",
  "PreemptedByAllocation",
  "PreviousAllocation",
  "RescheduleTracker",
  "TaskStates",
] as const satisfies readonly (keyof Allocation)[];
type Changeable = (typeof CHANGEABLE)[number];

/** Number of a field and its value, one after the other. */
type Changes = readonly unknown[];

/** Changeable fields of an outline besides the statuses; what was updated in place has another CreateIndex anyway. */
const IN_OUTLINE: ReadonlySet<Changeable> = new Set([
  "CreateIndex",
  "DeploymentID",
  "DesiredTransition",
  "JobCreateIndex",
  "JobVersion",
  "NextAllocation",
]);

/** Whether a row says more than its status that its block doesn't, and that an outline shows. */
export function outlineChanged(changes: Changes, isUpdate: boolean): boolean {
  for (let i = 0; i < changes.length; i += 2) {
    const field = CHANGEABLE[changes[i] as number]!;
    if (IN_OUTLINE.has(field) && !(isUpdate && field === "CreateIndex")) return true;
  }
  return false;
}

/** Where an allocation was placed: the index of the plan's log entry, its position there, and what changed since. */
export class PlacedRow {
  constructor(
    readonly index: number,
    readonly position: number,
    readonly changes: Changes = [],
  ) {}
}

/** What the table of allocations holds. */
export type StoredAllocation = PlacedRow | Allocation;

/** The allocation of a row. */
export function allocationOf(row: PlacedRow, block: PlanBlock, time: number): Allocation {
  const allocation = block.allocation(row.position, { index: row.index, time });
  const { changes } = row;
  for (let i = 0; i < changes.length; i += 2) {
    const field = CHANGEABLE[changes[i] as number];
    if (field === undefined) {
      throw new Error(
        `row of allocation ${allocation.ID} changes field ${String(changes[i])}, which this version does not know`,
      );
    }
    setField(allocation, field, changes[i + 1]);
  }
  return allocation;
}

/** The row of an allocation that was placed at this position, with what is different now. */
export function placedRow(
  allocation: Allocation,
  block: PlanBlock,
  position: number,
  commit: Commit,
): PlacedRow {
  const placed = block.allocation(position, commit);
  const changes: unknown[] = [];
  for (const [number, field] of CHANGEABLE.entries()) {
    const value = allocation[field];
    if (value === placed[field]) continue;
    if (typeof value === "object" && value !== null && isDeepStrictEqual(value, placed[field])) continue;
    changes.push(number, value);
  }
  return new PlacedRow(commit.index, position, changes);
}

function setField(allocation: Allocation, field: Changeable, value: unknown): void {
  if (value === undefined) delete (allocation as Partial<Allocation>)[field];
  else (allocation as unknown as Record<Changeable, unknown>)[field] = value;
}

/** First byte of a row that refers to a block; MessagePack never uses it. */
const PLACED = 0xc1;

/** Encodes both kinds of rows; `whole` does those that hold everything. */
export function allocationRowEncoder(packer: Packr, whole: RowEncoder): RowEncoder {
  return {
    copyBuffers: true,
    encode: (value) => {
      if (!(value instanceof PlacedRow)) return whole.encode(value);
      const head = Buffer.allocUnsafe(24);
      head[0] = PLACED;
      const end = writeVarint(head, writeVarint(head, 1, value.index), value.position);
      const start = head.subarray(0, end);
      return value.changes.length === 0 ? start : Buffer.concat([start, packer.encode(value.changes)]);
    },
    decode: (bytes, options) => {
      if (bytes[0] !== PLACED) return whole.decode(bytes, options);
      const end = (options as { end?: number } | undefined)?.end ?? bytes.length;
      const index = readVarint(bytes, 1);
      const position = readVarint(bytes, index.next);
      if (position.next >= end) return new PlacedRow(index.value, position.value);
      const changes = packer.decode(bytes, { start: position.next, end }) as Changes;
      return new PlacedRow(index.value, position.value, changes);
    },
  };
}

/** Seven bits a byte, lowest first; the highest bit says that more follow. */
function writeVarint(target: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at++] = rest;
  return at;
}

function readVarint(source: Uint8Array, start: number): { readonly value: number; readonly next: number } {
  let at = start;
  let value = 0;
  for (let scale = 1; ; scale *= 0x80) {
    const byte = source[at++]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: at };
  }
}
