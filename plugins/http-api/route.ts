/** A path of the API and who answers it. */
import { HttpError } from "@drover/plugin-sdk";
import type { Answer } from "./answer.js";
import type { ApiRequest } from "./request.js";

export type Handler = (request: ApiRequest) => Promise<Answer> | Answer;
export type Methods = Partial<Record<"GET" | "POST" | "PUT" | "DELETE", Handler>>;

export interface Route {
  /** Path with `:name` parts; a last part `*` takes the rest, slashes included. */
  readonly path: string;
  readonly handle: Handler;
  /** The body is not read beforehand: the handler takes it from `request.body`, however large it is. */
  readonly streamed?: boolean;
}

/** A route that answers 405 for a method it does not have. */
export function route(path: string, methods: Methods): Route {
  return { path, handle: (request) => dispatch(methods, request) };
}

export function dispatch(methods: Methods, request: ApiRequest): Promise<Answer> | Answer {
  const handler = methods[request.method as keyof Methods];
  if (handler === undefined) throw new HttpError(405, "Invalid method");
  return handler(request);
}

/** Writes that the API takes by POST and by PUT. */
export function write(path: string, handler: Handler): Route {
  return route(path, { POST: handler, PUT: handler });
}

export function read(path: string, handler: Handler): Route {
  return route(path, { GET: handler });
}
