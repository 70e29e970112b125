/** One agreed session between a node and a server: the counters and keys of both directions. */
import { timingSafeEqual } from "node:crypto";
import { bulkKey, type Direction, type Kind, type SealedHeader, sealBox, sealBulk } from "./envelope.js";

/** From this size on a payload is sealed with the bulk suite, where `node:crypto` is faster than tweetnacl. */
const BULK_FROM_BYTES = 1_024;

const WINDOW = 256;

/**
 * Sliding window over the counters of a direction, as in RFC 6347 section 4.1.2.6: takes each counter once, and tolerates
 * that a broker reorders payloads of different topics.
 */
export class ReplayWindow {
  private highest = 0;
  private readonly bits = new Uint32Array(WINDOW / 32);

  /** False for a counter that was seen or is too old to know. */
  accept(counter: number): boolean {
    if (counter < 1 || counter <= this.highest - WINDOW) return false;
    if (counter > this.highest) {
      if (counter - this.highest >= WINDOW) this.bits.fill(0);
      else for (let skipped = this.highest + 1; skipped < counter; skipped++) this.set(skipped, false);
      this.highest = counter;
    } else if (this.has(counter)) {
      return false;
    }
    this.set(counter, true);
    return true;
  }

  private has(counter: number): boolean {
    const slot = counter % WINDOW;
    return (this.bits[slot >> 5]! & (1 << (slot & 31))) !== 0;
  }

  private set(counter: number, value: boolean): void {
    const slot = counter % WINDOW;
    if (value) this.bits[slot >> 5]! |= 1 << (slot & 31);
    else this.bits[slot >> 5]! &= ~(1 << (slot & 31));
  }
}

export class Session {
  private sent = 0;
  private readonly window = new ReplayWindow();
  private sendKey: Buffer | undefined;

  /** `direction` is the one this side seals. */
  constructor(
    private readonly sharedKey: Uint8Array,
    private readonly direction: Direction,
    readonly agentSession: Uint8Array,
    readonly serverSession: Uint8Array,
  ) {}

  seal(topic: string, kind: Kind, body: Uint8Array): Buffer {
    const { agentSession, serverSession } = this;
    const header: SealedHeader = { kind, agentSession, serverSession, counter: ++this.sent };
    if (body.length < BULK_FROM_BYTES) return sealBox(this.sharedKey, topic, header, body);
    this.sendKey ??= bulkKey(this.sharedKey, this.direction, agentSession, serverSession);
    return sealBulk(this.sendKey, topic, header, body);
  }

  matches(header: SealedHeader): boolean {
    return (
      timingSafeEqual(header.agentSession, this.agentSession) &&
      timingSafeEqual(header.serverSession, this.serverSession)
    );
  }

  /** False when this payload came before. */
  accept(header: SealedHeader): boolean {
    return this.window.accept(header.counter);
  }
}
