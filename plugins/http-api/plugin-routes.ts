/** Routes that other plugins add to the API (`HttpRoutes`). */

import { Readable } from "node:stream";
import { HttpError, type HttpResponse, type HttpRoute, type HttpRoutes } from "@drover/plugin-sdk";
import type { Answer, Body } from "./answer.js";
import type { ApiRequest } from "./request.js";
import { type Methods, type Route, route } from "./route.js";

/**
 * Plugins' routes, grouped by path. Throws an Error naming the path where it isn't under `/v1/`, is one of the API's
 * own, or is declared twice.
 */
export function pluginRoutes(plugins: readonly HttpRoutes[], builtin: readonly Route[]): Route[] {
  const taken = new Set(builtin.map(({ path }) => shapeOf(path)));
  const byPath = new Map<string, { readonly path: string; readonly methods: Methods }>();
  for (const added of plugins.flatMap((plugin) => plugin.routes)) {
    const shape = shapeOf(added.path);
    if (!added.path.startsWith("/v1/"))
      throw new Error(`HTTP route ${added.path} of a plugin must be under /v1/`);
    if (taken.has(shape)) throw new Error(`HTTP route ${added.path} of a plugin is one of the API's own`);
    const entry = byPath.get(shape) ?? { path: added.path, methods: {} };
    if (entry.path !== added.path) {
      throw new Error(`HTTP routes ${entry.path} and ${added.path} of plugins are the same path`);
    }
    if (entry.methods[added.method] !== undefined) {
      throw new Error(`HTTP route ${added.method} ${added.path} is declared by two plugins`);
    }
    entry.methods[added.method] = (request) => call(added, request);
    byPath.set(shape, entry);
  }
  return [...byPath.values()].map(({ path, methods }) => route(path, methods));
}

/** A path without the names of its parameters: routes that differ in those alone can't be told apart. */
function shapeOf(path: string): string {
  return path.replace(/:[^/]+/g, ":");
}

async function call(added: HttpRoute, request: ApiRequest): Promise<Answer> {
  const headers: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  const answer = await added.handle({
    method: request.method,
    path: request.path,
    params: request.params,
    query: request.query,
    headers,
    body: request.rawBody === undefined || request.rawBody.length === 0 ? undefined : request.json(),
    signal: request.signal,
  });
  return { status: answer.status, headers: answer.headers, body: bodyOf(answer) };
}

function bodyOf({ body, headers }: HttpResponse): Body {
  const type = (fallback: string) =>
    Object.entries(headers ?? {}).find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? fallback;
  if (body === undefined) return { kind: "empty" };
  if (typeof body === "string") return { kind: "text", text: body, type: type("text/plain; charset=utf-8") };
  if (body instanceof Uint8Array)
    return { kind: "bytes", bytes: body, type: type("application/octet-stream") };
  if (body instanceof Readable)
    return { kind: "stream", stream: body, type: type("application/octet-stream") };
  if (typeof body === "object" && body !== null && Symbol.asyncIterator in body) {
    const stream = Readable.from(body as AsyncIterable<unknown>, { objectMode: false });
    return { kind: "stream", stream, type: type("application/octet-stream") };
  }
  if (typeof body === "function" || typeof body === "symbol") {
    throw new HttpError(500, "a plugin's route answered with something that is no JSON");
  }
  return { kind: "json", value: body };
}
