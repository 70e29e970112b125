/**
 * Calls between servers as HTTP/2 requests (RFC 9113). A request is `POST /Service.Method`; its data is the body, of the length
 * that a header says, and of a stream everything behind it. The answer is 200 with the body, or 500 with a `WireError` in JSON.
 */
import { errorFromWire, errorToWire } from "@drover/plugin-sdk";

/** Both ends must have the same; a change of what is written below, or of a body in a way that the other can't read, raises it. */
export const PROTOCOL_VERSION = "1";

export const HEADER = {
  version: "drover-rpc",
  /** `call` or `stream`. */
  kind: "drover-kind",
  /** Region that the caller says it is of. */
  region: "drover-region",
  /** Region that it wants to reach, or `*`. */
  target: "drover-target",
  /** Milliseconds that the caller waits. */
  deadline: "drover-deadline",
  /** Bytes of the body, or of the answer. */
  length: "drover-length",
} as const;

export type Kind = "call" | "stream";

/** Bounds of one session, and of the whole network. */
export const LIMITS = {
  /** Calls and streams of one session that may be under way in each direction. */
  sessionStreams: 1024,
  /** Of these, streams: what each may hold unread is bounded by its window. */
  openStreams: 64,
  /** Bytes that a stream may hold unread at the receiver. */
  streamWindow: 1024 * 1024,
  /** Bytes of a session that may be under way; Node returns them as they arrive, so it bounds nothing but the pipe. */
  sessionWindow: 32 * 1024 * 1024,
  /** Bytes of bodies and answers that this server holds at once. */
  inFlight: 256 * 1024 * 1024,
  maxBody: 16 * 1024 * 1024,
  maxAnswer: 64 * 1024 * 1024,
  /** Largest error in JSON. */
  errorBody: 256 * 1024,
} as const;

export const SETTINGS = {
  enablePush: false,
  initialWindowSize: LIMITS.streamWindow,
  maxConcurrentStreams: LIMITS.sessionStreams,
  maxFrameSize: 64 * 1024,
} as const;

/** Node's bound of a session's buffers, in megabytes: what all its streams may hold, and some more. */
export const SESSION_MEMORY = 128;

export function encodeError(error: unknown): Buffer {
  return Buffer.from(JSON.stringify(errorToWire(error)));
}

export function decodeError(bytes: Uint8Array): Error {
  let wire: unknown;
  try {
    wire = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    // What can't be read is an error of its own.
    wire = undefined;
  }
  return errorFromWire(wire);
}

/** A header's whole number, or undefined. */
export function numberOf(header: string | readonly string[] | undefined): number | undefined {
  return typeof header === "string" && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
}
