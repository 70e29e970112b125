/**
 * Sealing of payloads: what crosses the broker. docs/agent-protocol.md, "Sealing", describes the bytes.
 *
 * Small payloads are NaCl boxes. A box of 64 KiB costs tweetnacl 650 µs, ChaCha20-Poly1305 of node:crypto 29 µs (measured on
 * the development machine), so larger ones are sealed with the latter, under a key derived for the session.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import nacl from "tweetnacl";

export const ENVELOPE_VERSION = 1;

/** How a payload is sealed; its second byte. */
export const Suite = { box: 1, bulk: 2, introduction: 3 } as const;

/** What a payload is; the first sealed byte. */
export const Kind = {
  enroll: 1,
  enrolled: 2,
  hello: 3,
  welcome: 4,
  refused: 5,
  online: 6,
  offline: 7,
  will: 8,
  frame: 9,
  unknownSession: 10,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** `up` is sealed by the agent, `down` by the server. */
export type Direction = "up" | "down";

export const SESSION_ID_BYTES = 16;
export const NO_SESSION: Buffer = Buffer.alloc(SESSION_ID_BYTES);

export interface SealedHeader {
  readonly kind: Kind;
  readonly agentSession: Uint8Array;
  readonly serverSession: Uint8Array;
  /** Counts the payloads of one direction of a session from 1; 0 outside a session. */
  readonly counter: number;
}

export interface Opened {
  readonly header: SealedHeader;
  readonly body: Buffer;
}

export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

export type RefusalReason =
  | "forged"
  | "replayed"
  | "truncated"
  | "oversized"
  | "unknown_node"
  | "malformed"
  | "rate_limited";

/** A payload that is not taken; `reason` is the label it is counted under. */
export class RefusedPayload extends Error {
  override readonly name = "RefusedPayload";
  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}

const TOPIC_HASH_BYTES = 16;
const COUNTER_BYTES = 8;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + TOPIC_HASH_BYTES + 2 * SESSION_ID_BYTES + COUNTER_BYTES;
const NONCE_BYTES = nacl.box.nonceLength;
const KEY_BYTES = nacl.box.publicKeyLength;
/** Clear part of a bulk payload: version, suite, both session ids, counter. */
const BULK_PREFIX_BYTES = 2 + 2 * SESSION_ID_BYTES + COUNTER_BYTES;
const BOX_MINIMUM = 2 + NONCE_BYTES + TAG_BYTES + HEADER_BYTES;
const BULK_MINIMUM = BULK_PREFIX_BYTES + 1 + TAG_BYTES;
/** Bytes that sealing adds at most. */
export const ENVELOPE_OVERHEAD: number = 2 + KEY_BYTES + NONCE_BYTES + TAG_BYTES + HEADER_BYTES;
const KINDS: ReadonlySet<number> = new Set(Object.values(Kind));

/** First 16 bytes of the topic's SHA-256; ties a payload to its topic, so to node, region and direction. */
function topicHash(topic: string): Buffer {
  return createHash("sha256").update(topic).digest().subarray(0, TOPIC_HASH_BYTES);
}

function writeCounter(target: Buffer, counter: number, offset: number): void {
  target.writeBigUInt64BE(BigInt(counter), offset);
}

function readCounter(source: Buffer, offset: number): number {
  const counter = source.readBigUInt64BE(offset);
  if (counter > BigInt(Number.MAX_SAFE_INTEGER)) throw new RefusedPayload("malformed", "counter above 2^53");
  return Number(counter);
}

function plaintext(topic: string, header: SealedHeader, body: Uint8Array): Buffer {
  const plain = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  plain[0] = header.kind;
  plain.set(topicHash(topic), 1);
  plain.set(header.agentSession, 17);
  plain.set(header.serverSession, 33);
  writeCounter(plain, header.counter, 49);
  plain.set(body, HEADER_BYTES);
  return plain;
}

function readPlaintext(topic: string, plain: Buffer): Opened {
  if (plain.length < HEADER_BYTES) throw new RefusedPayload("truncated", "sealed header is cut short");
  const kind = plain[0]!;
  if (!KINDS.has(kind)) throw new RefusedPayload("malformed", `kind ${kind} is unknown`);
  if (!plain.subarray(1, 17).equals(topicHash(topic))) {
    throw new RefusedPayload("forged", "payload was sealed for another topic");
  }
  return {
    header: {
      kind: kind as Kind,
      agentSession: plain.subarray(17, 33),
      serverSession: plain.subarray(33, 49),
      counter: readCounter(plain, 49),
    },
    body: plain.subarray(HEADER_BYTES),
  };
}

/** Seals with the precomputed key of a pair of peers. */
export function sealBox(
  sharedKey: Uint8Array,
  topic: string,
  header: SealedHeader,
  body: Uint8Array,
): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const box = nacl.box.after(plaintext(topic, header, body), nonce, sharedKey);
  return Buffer.concat([Uint8Array.of(ENVELOPE_VERSION, Suite.box), nonce, box]);
}

/** A box from a key that the reader doesn't know yet: the key stands in front of it. */
export function sealIntroduction(
  sharedKey: Uint8Array,
  publicKey: Uint8Array,
  topic: string,
  header: SealedHeader,
  body: Uint8Array,
): Buffer {
  const box = sealBox(sharedKey, topic, header, body);
  return Buffer.concat([Uint8Array.of(ENVELOPE_VERSION, Suite.introduction), publicKey, box.subarray(2)]);
}

/** Key of the bulk suite for one direction of one session. */
export function bulkKey(
  sharedKey: Uint8Array,
  direction: Direction,
  agentSession: Uint8Array,
  serverSession: Uint8Array,
): Buffer {
  const salt = Buffer.concat([agentSession, serverSession]);
  return Buffer.from(hkdfSync("sha256", sharedKey, salt, `drover/v1 bulk ${direction}`, 32));
}

/** The counter is the nonce: a key lives for one session, in which a counter is used once. */
function bulkNonce(counter: Uint8Array): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.set(counter, 4);
  return nonce;
}

/** Seals with the key of `bulkKey`; only inside a session. */
export function sealBulk(key: Uint8Array, topic: string, header: SealedHeader, body: Uint8Array): Buffer {
  const prefix = Buffer.allocUnsafe(BULK_PREFIX_BYTES);
  prefix[0] = ENVELOPE_VERSION;
  prefix[1] = Suite.bulk;
  prefix.set(header.agentSession, 2);
  prefix.set(header.serverSession, 18);
  writeCounter(prefix, header.counter, 34);
  const cipher = createCipheriv("chacha20-poly1305", key, bulkNonce(prefix.subarray(34)), {
    authTagLength: TAG_BYTES,
  });
  cipher.setAAD(Buffer.concat([prefix, topicHash(topic)]), { plaintextLength: 1 + body.length });
  const parts = [prefix, cipher.update(Uint8Array.of(header.kind)), cipher.update(body), cipher.final()];
  return Buffer.concat([...parts, cipher.getAuthTag()]);
}

/** The two first bytes, checked against the sizes that their suite needs. Throws a `RefusedPayload`. */
function suiteOf(payload: Buffer): number {
  if (payload.length < 2) throw new RefusedPayload("truncated", `payload of ${payload.length} bytes`);
  if (payload[0] !== ENVELOPE_VERSION) {
    throw new RefusedPayload("malformed", `envelope version ${payload[0]}, expected ${ENVELOPE_VERSION}`);
  }
  const suite = payload[1]!;
  const minimum =
    suite === Suite.box
      ? BOX_MINIMUM
      : suite === Suite.bulk
        ? BULK_MINIMUM
        : suite === Suite.introduction
          ? BOX_MINIMUM + KEY_BYTES
          : undefined;
  if (minimum === undefined) throw new RefusedPayload("malformed", `suite ${suite} is unknown`);
  if (payload.length < minimum) throw new RefusedPayload("truncated", `payload of ${payload.length} bytes`);
  return suite;
}

function openBox(sharedKey: Uint8Array, topic: string, nonce: Buffer, box: Buffer): Opened {
  const plain = nacl.box.open.after(box, nonce, sharedKey);
  if (plain === null) throw new RefusedPayload("forged", "seal is broken or made with another key");
  return readPlaintext(topic, Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength));
}

function openBulk(sharedKey: Uint8Array, direction: Direction, topic: string, payload: Buffer): Opened {
  const prefix = payload.subarray(0, BULK_PREFIX_BYTES);
  const agentSession = prefix.subarray(2, 18);
  const serverSession = prefix.subarray(18, 34);
  const counter = readCounter(prefix, 34);
  const key = bulkKey(sharedKey, direction, agentSession, serverSession);
  const sealed = payload.subarray(BULK_PREFIX_BYTES, payload.length - TAG_BYTES);
  const decipher = createDecipheriv("chacha20-poly1305", key, bulkNonce(prefix.subarray(34)), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.concat([prefix, topicHash(topic)]), { plaintextLength: sealed.length });
  decipher.setAuthTag(payload.subarray(payload.length - TAG_BYTES));
  const plain = decipher.update(sealed);
  try {
    decipher.final();
  } catch (error) {
    throw new RefusedPayload(
      "forged",
      `seal is broken or made with another key (${(error as Error).message})`,
    );
  }
  const kind = plain[0]!;
  if (kind !== Kind.frame) throw new RefusedPayload("malformed", `kind ${kind} in a bulk payload`);
  return { header: { kind: Kind.frame, agentSession, serverSession, counter }, body: plain.subarray(1) };
}

/** Opens a payload of a known peer; `direction` is the sender's. Throws a `RefusedPayload`. */
export function openPayload(
  sharedKey: Uint8Array,
  direction: Direction,
  topic: string,
  payload: Buffer,
): Opened {
  switch (suiteOf(payload)) {
    case Suite.box:
      return openBox(
        sharedKey,
        topic,
        payload.subarray(2, 2 + NONCE_BYTES),
        payload.subarray(2 + NONCE_BYTES),
      );
    case Suite.bulk:
      return openBulk(sharedKey, direction, topic, payload);
    default:
      throw new RefusedPayload("malformed", "an introduction is only taken on an enroll topic");
  }
}

/** Opens an enrolment; `shared` computes the key with the sender's public key. Throws a `RefusedPayload`. */
export function openIntroduction(
  shared: (publicKey: Uint8Array) => Uint8Array,
  topic: string,
  payload: Buffer,
): Opened & { readonly publicKey: Uint8Array; readonly sharedKey: Uint8Array } {
  if (suiteOf(payload) !== Suite.introduction) {
    throw new RefusedPayload("malformed", "only an introduction is taken on an enroll topic");
  }
  const publicKey = Uint8Array.from(payload.subarray(2, 2 + KEY_BYTES));
  const nonceEnd = 2 + KEY_BYTES + NONCE_BYTES;
  const sharedKey = shared(publicKey);
  const opened = openBox(
    sharedKey,
    topic,
    payload.subarray(2 + KEY_BYTES, nonceEnd),
    payload.subarray(nonceEnd),
  );
  return { ...opened, publicKey, sharedKey };
}
