/** Frames inside a session: MessagePack arrays of five, `[version, type, id, detail, body]`. */
import { Packr } from "msgpackr";
import { z } from "zod";
import { RefusedPayload } from "./envelope.js";

export const FRAME_VERSION = 1;

/** Largest body, packed; a job or a delta above it is refused with `too_large`. */
export const MAX_MESSAGE_BYTES: number = 16 * 1024 * 1024;
/** A frame above this is sent in fragments. Brokers must let packets of 320 KiB pass. */
export const CHUNK_BYTES: number = 256 * 1024;

export const FrameType = {
  request: 1,
  answer: 2,
  error: 3,
  cancel: 4,
  open: 5,
  data: 6,
  end: 7,
  credit: 8,
  fragment: 9,
} as const;

/** Maps without records, so that a decoder in any language reads them; times above 2^53 become floats, as in JSON. */
const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  int64AsType: "number",
  // `{ task: undefined }` is left out, as JSON.stringify does.
  ...({ skipValues: [undefined] } as object),
});

export function pack(value: unknown): Buffer {
  return packr.pack(value);
}

/** Throws a `RefusedPayload` for bytes that are not one MessagePack value. */
export function unpack(packed: Buffer): unknown {
  try {
    return packr.unpack(packed);
  } catch (error) {
    throw new RefusedPayload("malformed", `not MessagePack: ${(error as Error).message}`);
  }
}

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, "must be bytes");
const id = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);
const version = z.literal(FRAME_VERSION);
const method = z.string().min(1).max(64);
const body = z.record(z.string(), z.unknown());
const remoteError = z.object({ code: z.string().max(64), message: z.string().max(16_384) });
const sequence = z.number().int().nonnegative();

const FileFrameSchema = z.object({
  File: z.string().max(4_096),
  Offset: z.number().int().nonnegative(),
  Data: bytes.optional(),
  FileEvent: z.string().max(256).optional(),
});

const frames = {
  [FrameType.request]: z.tuple([version, z.literal(FrameType.request), id, method, body]),
  [FrameType.answer]: z.tuple([version, z.literal(FrameType.answer), id, z.null(), z.unknown()]),
  [FrameType.error]: z.tuple([version, z.literal(FrameType.error), id, z.null(), remoteError]),
  [FrameType.cancel]: z.tuple([version, z.literal(FrameType.cancel), id, z.null(), z.null()]),
  [FrameType.open]: z.tuple([
    version,
    z.literal(FrameType.open),
    id,
    method,
    z.object({ request: body, limit: id }),
  ]),
  [FrameType.data]: z.tuple([version, z.literal(FrameType.data), id, sequence, FileFrameSchema]),
  [FrameType.end]: z.tuple([version, z.literal(FrameType.end), id, sequence, remoteError.nullable()]),
  [FrameType.credit]: z.tuple([version, z.literal(FrameType.credit), id, z.null(), z.object({ limit: id })]),
  [FrameType.fragment]: z.tuple([
    version,
    z.literal(FrameType.fragment),
    id,
    z.tuple([
      sequence,
      z
        .number()
        .int()
        .min(2)
        .max(MAX_MESSAGE_BYTES / CHUNK_BYTES + 1),
    ]),
    bytes,
  ]),
} as const;
export type Frame = z.infer<(typeof frames)[keyof typeof frames]>;

export function encodeFrame(frame: Frame): Buffer {
  return pack(frame);
}

/** Throws a `RefusedPayload` for what is not a frame of this version. */
export function decodeFrame(packed: Buffer): Frame {
  const value = unpack(packed);
  if (Array.isArray(value) && typeof value[0] === "number" && value[0] !== FRAME_VERSION) {
    throw new RefusedPayload("malformed", `frame version ${value[0]}, expected ${FRAME_VERSION}`);
  }
  const schema = Array.isArray(value) ? frames[value[1] as keyof typeof frames] : undefined;
  if (schema === undefined) throw new RefusedPayload("malformed", "not a frame: its type is unknown");
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RefusedPayload(
      "malformed",
      `not a frame: ${issue?.message ?? ""} at ${issue?.path.join(".") || "root"}`,
    );
  }
  return parsed.data;
}

const bytes32 = bytes.refine((value) => value.length === 32, "must be 32 bytes");

export const EnrollBody = z.object({
  nodeId: z.string().max(64),
  publicKey: bytes32,
  joinSecret: bytes32,
  protocol: z.number().int(),
  /** Unix milliseconds of the node's clock; only logged, because a node may boot without a clock. */
  time: z.number(),
});

/** Answer to enrolment and hello: null, or why not. */
export const OutcomeBody = z.object({ error: remoteError.nullable() });

export const HelloBody = z.object({
  versions: z.array(z.number().int()).min(1).max(16),
  software: z.string().max(64),
  /** Id of the MQTT connection, which its last will carries. */
  connection: bytes.refine((value) => value.length === 16, "must be 16 bytes"),
});

/** Checks the body of a handshake payload; throws a `RefusedPayload`. */
export function decodeBody<T>(schema: z.ZodType<T>, packed: Buffer): T {
  const parsed = schema.safeParse(unpack(packed));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RefusedPayload(
      "malformed",
      `${issue?.message ?? "bad body"} at ${issue?.path.join(".") || "root"}`,
    );
  }
  return parsed.data;
}
