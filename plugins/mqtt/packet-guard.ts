/** Follows the fixed headers of an MQTT byte stream, so that a length is refused before its bytes are collected. */

/** A CONNECT with client id, will, user name and password; nothing else may come first. */
const MAX_FIRST_PACKET = 8 * 1024;
const CONNECT = 1;
const CONNACK = 2;

export class PacketGuard {
  private first = true;
  /** Bytes of the current packet still to come; undefined while its length is being read. */
  private remaining: number | undefined;
  private lengthBytes = -1;
  private length = 0;

  /** `side` is who writes the bytes: clients start with CONNECT, brokers with CONNACK. */
  constructor(
    private readonly side: "client" | "broker",
    private readonly maxPacket: number,
  ) {}

  /** What is wrong with the bytes, or undefined. */
  push(chunk: Uint8Array): string | undefined {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.remaining !== undefined && this.remaining > 0) {
        const step = Math.min(this.remaining, chunk.length - offset);
        this.remaining -= step;
        offset += step;
        continue;
      }
      const problem = this.headerByte(chunk[offset++]!);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  private headerByte(byte: number): string | undefined {
    if (this.lengthBytes < 0 || this.remaining === 0) {
      this.remaining = undefined;
      this.lengthBytes = 0;
      this.length = 0;
      if (this.first && byte >> 4 !== (this.side === "client" ? CONNECT : CONNACK)) {
        return "the bytes are not MQTT";
      }
      return undefined;
    }
    this.length += (byte & 0x7f) * 128 ** this.lengthBytes++;
    if ((byte & 0x80) !== 0) return this.lengthBytes >= 4 ? "the bytes are not MQTT" : undefined;
    const limit = this.first ? Math.min(MAX_FIRST_PACKET, this.maxPacket) : this.maxPacket;
    if (this.length > limit) return `packet of ${this.length} bytes, allowed are ${limit}`;
    this.first = false;
    this.remaining = this.length;
    return undefined;
  }
}
