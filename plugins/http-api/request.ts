/** A request as handlers see it, and what every query may say in its parameters. */
import { HttpError } from "@drover/plugin-sdk";
import { parseDuration } from "./duration.js";
import { parseBody, parseObject } from "./json-body.js";

export class ApiRequest {
  constructor(
    readonly method: string,
    /** Decoded path, without the query. */
    readonly path: string,
    /** Decoded parts of the path by name; a trailing `*` of the route is `*`. */
    readonly params: Readonly<Record<string, string>>,
    readonly query: URLSearchParams,
    readonly headers: Readonly<Record<string, string | string[] | undefined>>,
    /** A body that was read; undefined too where the route takes it as it comes. */
    readonly rawBody: Uint8Array | undefined,
    /** Aborted when the client goes away, or when the API stops. */
    readonly signal: AbortSignal,
    /** Of a route with `streamed`: the body as it comes. Leaving it early keeps the connection, so that an answer gets through. */
    readonly body?: AsyncIterable<Uint8Array>,
  ) {}

  param(name: string): string {
    return this.params[name] ?? "";
  }

  /** JSON body; throws HttpError 400. */
  json(): unknown {
    return parseBody(this.rawBody);
  }

  object(): Record<string, unknown> {
    return parseObject(this.rawBody);
  }

  /** JSON object, `{}` where the body is empty. */
  optionalObject(): Record<string, unknown> {
    return this.rawBody === undefined || this.rawBody.length === 0 ? {} : this.object();
  }

  /** `?namespace`, `default` where it isn't given; `*` is all. */
  get namespace(): string {
    return this.query.get("namespace") || "default";
  }

  get prefix(): string | undefined {
    return this.query.get("prefix") || undefined;
  }

  /** A parameter that is true when given as `1`, `t`, `true` (Go's ParseBool); throws HttpError 400 for nonsense. */
  flag(name: string, fallback = false): boolean {
    const value = this.query.get(name);
    if (value === null || value === "") return fallback;
    if (/^(1|t|T|true|TRUE|True)$/.test(value)) return true;
    if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
    throw new HttpError(
      400,
      `Failed to parse value of "${name}" (${value}) as a bool: it must be true or false`,
    );
  }

  /** A whole number of bytes; throws HttpError 400. */
  count(name: string, fallback: number): number {
    const value = this.query.get(name);
    if (value === null || value === "") return fallback;
    const number = Number(value);
    if (!/^\d+$/.test(value) || !Number.isSafeInteger(number)) {
      throw new HttpError(400, `error parsing ${name}: "${value}" is not a whole number`);
    }
    return number;
  }

  /** `?stale`: any server's state will do. */
  get stale(): boolean {
    return this.query.has("stale");
  }

  /** `?consistent`: only what the leader has confirmed. */
  get consistent(): boolean {
    return this.query.has("consistent");
  }
}

/** Longest and default wait of a blocking query, nanoseconds. */
const MAX_WAIT = 600e9;
const DEFAULT_WAIT = 300e9;

export interface Blocking {
  /** Answer once the index is above it; 0: at once. */
  readonly index: number;
  /** Nanoseconds, without jitter. */
  readonly wait: number;
}

/** `?index` and `?wait`; throws HttpError 400. */
export function blockingOf(request: ApiRequest): Blocking {
  const index = request.query.get("index") ?? "";
  if (index !== "" && !/^\d{1,19}$/.test(index)) throw new HttpError(400, "Invalid index");
  const text = request.query.get("wait") ?? "";
  const wait = text === "" ? DEFAULT_WAIT : parseDuration(text);
  if (wait === undefined || wait < 0) throw new HttpError(400, "Invalid wait time");
  return { index: Number(index), wait: wait === 0 ? DEFAULT_WAIT : Math.min(wait, MAX_WAIT) };
}
