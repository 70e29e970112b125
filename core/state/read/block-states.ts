/**
 * What is asked first of the allocations of a block, a byte each: their status on both sides, and whether anything else of
 * them changed that decides about them. Who looks over all allocations of a job reads these bytes and the blocks, and the
 * rows of those alone that matter.
 */
import { type Allocation, AllocClientStatus, AllocDesiredStatus, allocIsTerminal } from "@drover/plugin-sdk";

/** No row refers to the position (any more). */
export const GONE = 0xff;
/** A field of the outline that is neither status was changed since the allocation was placed: its row has it. */
export const CHANGED = 0x80;
const DESIRED_SHIFT = 3;
const CLIENT_MASK = 0x07;
const DESIRED_MASK = 0x03;

/** By code; append only, the codes are in stored rows. */
const CLIENT: readonly AllocClientStatus[] = [
  AllocClientStatus.Pending,
  AllocClientStatus.Running,
  AllocClientStatus.Complete,
  AllocClientStatus.Failed,
  AllocClientStatus.Lost,
];
const DESIRED: readonly AllocDesiredStatus[] = [
  AllocDesiredStatus.Run,
  AllocDesiredStatus.Stop,
  AllocDesiredStatus.Evict,
];

/** By byte. */
const LIVE = Uint8Array.from({ length: 256 }, (_, byte) => {
  const ClientStatus = CLIENT[byte & CLIENT_MASK];
  const DesiredStatus = DESIRED[(byte >> DESIRED_SHIFT) & DESIRED_MASK];
  if (byte === GONE || ClientStatus === undefined || DesiredStatus === undefined) return 0;
  return allocIsTerminal({ ClientStatus, DesiredStatus }) ? 0 : 1;
});

/** The byte of an allocation; `changed`: another field of its outline differs from what its block says. */
export function stateByte(
  { ClientStatus, DesiredStatus }: Pick<Allocation, "ClientStatus" | "DesiredStatus">,
  changed: boolean,
): number {
  const client = CLIENT.indexOf(ClientStatus);
  const desired = DESIRED.indexOf(DesiredStatus);
  // A status that this version has no code for is in the row.
  if (client < 0 || desired < 0) return CHANGED;
  return client | (desired << DESIRED_SHIFT) | (changed ? CHANGED : 0);
}

/** Whether there is an allocation, and neither side is done with it. */
export function isLive(byte: number): boolean {
  return LIVE[byte] === 1;
}

/** Both undefined for a byte with CHANGED. */
export function clientStatusOf(byte: number): AllocClientStatus | undefined {
  return CLIENT[byte & CLIENT_MASK];
}

export function desiredStatusOf(byte: number): AllocDesiredStatus | undefined {
  return DESIRED[(byte >> DESIRED_SHIFT) & DESIRED_MASK];
}
