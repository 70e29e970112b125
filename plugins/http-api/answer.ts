/** What a handler answers, before it is encoded. */
import type { Readable } from "node:stream";

export type Body =
  | { readonly kind: "json"; readonly value: unknown }
  /** A JSON list that is encoded row by row; `close` frees what the rows are read from. */
  | { readonly kind: "rows"; readonly rows: Iterable<unknown>; readonly close: () => void }
  | { readonly kind: "text"; readonly text: string; readonly type: string }
  /** Bytes as they come; never compressed, so that a follower sees them at once. */
  | { readonly kind: "stream"; readonly stream: Readable; readonly type: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array; readonly type: string }
  | { readonly kind: "empty" };

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Body;
}

export const PLAIN_TEXT = "text/plain; charset=utf-8";

export function json(value: unknown, headers?: Readonly<Record<string, string>>): Answer {
  return { headers, body: { kind: "json", value } };
}

/** Answer to a write: `X-Nomad-Index` is the body's own index. */
export function written<T extends { readonly Index: number }>(value: T): Answer {
  return json(value, { "X-Nomad-Index": String(value.Index) });
}

export function text(value: string, status = 200, type = PLAIN_TEXT): Answer {
  return { status, body: { kind: "text", text: value, type } };
}

export const empty: Answer = { body: { kind: "empty" } };
