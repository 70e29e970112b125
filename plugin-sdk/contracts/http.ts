/** HTTP routes that plugins add to the API. */
import { createToken } from "../kernel/token.js";

export interface HttpRequest {
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Parsed JSON body; undefined where there was none. */
  readonly body: unknown;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Encoded as JSON, unless it is bytes, text or a stream of bytes. */
  readonly body?: unknown;
}

/** Throw it from a handler for a code other than 500; `message` is the body, as Nomad answers errors in plain text. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

export interface HttpRoute {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** For example `/v1/widgets/:id`; must be under `/v1/`. */
  readonly path: string;
  handle(request: HttpRequest): Promise<HttpResponse> | HttpResponse;
}

/** A plugin's routes; mounted before the listener opens. */
export interface HttpRoutes {
  readonly routes: readonly HttpRoute[];
}
export const HttpRoutes = createToken<HttpRoutes>("HttpRoutes", "multiple");
