/** https://developer.hashicorp.com/nomad/api-docs/operator/snapshot: the whole state as one archive, out and in. */
import { HttpError } from "@drover/plugin-sdk";
import { type Answer, empty } from "../answer.js";
import { queryHeaders } from "../query.js";
import type { ApiRequest } from "../request.js";
import { dispatch, type Route } from "../route.js";
import { endpointsOf, type Services } from "../services.js";

export function snapshotRoutes(services: Services): Route[] {
  const methods = {
    GET: (request: ApiRequest) => save(services, request),
    PUT: (request: ApiRequest) => restore(services, request),
    POST: (request: ApiRequest) => restore(services, request),
  };
  return [{ path: "/v1/operator/snapshot", streamed: true, handle: (request) => dispatch(methods, request) }];
}

/** `Digest` as RFC 3230 has it: Nomad's client checks the archive by it, and refuses one without. */
async function save(services: Services, request: ApiRequest): Promise<Answer> {
  const { snapshots } = endpointsOf(services);
  const { archive, index, size, sha256 } = await snapshots.save({ stale: request.stale }, request.signal);
  return {
    headers: {
      ...queryHeaders(services, index),
      "Cache-Control": "no-store",
      "Content-Length": String(size),
      Digest: `sha-256=${sha256}`,
    },
    body: { kind: "stream", stream: archive, type: "application/x-gzip" },
  };
}

async function restore(services: Services, request: ApiRequest): Promise<Answer> {
  const { snapshots } = endpointsOf(services);
  if (request.body === undefined) throw new HttpError(400, "the body must be a snapshot archive");
  const { Index } = await snapshots.restore(request.body, request.signal);
  return { ...empty, headers: { "X-Nomad-Index": String(Index) } };
}
