/** Operator, system, status, namespaces and ACL paths. */
import { HttpError, type Namespace, StateTable } from "@drover/plugin-sdk";
import { type Answer, empty, json, written } from "../answer.js";
import { parseDuration } from "../duration.js";
import { query, queryHeaders } from "../query.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, route, write } from "../route.js";
import { endpointsOf, type Services } from "../services.js";

const { SchedulerConfig } = StateTable;

/** The one namespace there is. Its hash is Nomad's for the same name and description. */
const DEFAULT_NAMESPACE: Namespace = {
  CreateIndex: 1,
  Description: "Default shared namespace",
  Hash: "C7UbjDwBK0dK8wQq7Izg7SJIzaV+lIo2X7wRtzY3pSw=",
  ModifyIndex: 1,
  Name: "default",
  Quota: "",
};

export function operatorRoutes(services: Services): Route[] {
  const aclDisabled = (): never => {
    throw new HttpError(400, "ACL support disabled");
  };
  return [
    read("/v1/status/leader", () => json(endpointsOf(services).status.leader())),
    read("/v1/status/peers", () => json(endpointsOf(services).status.peers())),
    read("/v1/regions", () => json(regions(services))),
    read("/v1/namespaces", (request) => {
      const matches = DEFAULT_NAMESPACE.Name.startsWith(request.prefix ?? "");
      return json(matches ? [DEFAULT_NAMESPACE] : [], queryHeaders(services, DEFAULT_NAMESPACE.ModifyIndex));
    }),
    read("/v1/namespace/:name", (request) => {
      const headers = queryHeaders(services, DEFAULT_NAMESPACE.ModifyIndex);
      if (request.param("name") !== DEFAULT_NAMESPACE.Name) {
        throw new HttpError(404, "Namespace not found", headers);
      }
      return json(DEFAULT_NAMESPACE, headers);
    }),
    route("/v1/operator/scheduler/configuration", {
      GET: (request) =>
        query(services, request, [SchedulerConfig], (snapshot) => {
          const config = snapshot.schedulerConfiguration();
          const index = config.ModifyIndex;
          return {
            index,
            value: { Index: index, KnownLeader: true, LastContact: 0, SchedulerConfig: config },
          };
        }),
      POST: (request) => setSchedulerConfiguration(services, request),
      PUT: (request) => setSchedulerConfiguration(services, request),
    }),
    write("/v1/operator/join-token", async (request) => {
      const ttl = joinTokenTTL(request.optionalObject().TTL);
      const endpoints = endpointsOf(services);
      const answer = json({ JoinToken: await endpoints.operator.issueJoinToken(ttl) });
      return { ...answer, headers: { "Cache-Control": "no-store" } };
    }),
    write("/v1/system/gc", async () => {
      await endpointsOf(services).operator.collectGarbage();
      return empty;
    }),
    { path: "/v1/acl/*", handle: aclDisabled },
  ];
}

async function setSchedulerConfiguration(services: Services, request: ApiRequest): Promise<Answer> {
  const cas = request.query.has("cas") ? request.count("cas", 0) : undefined;
  return written(await endpointsOf(services).operator.setSchedulerConfiguration(request.object(), cas));
}

function regions(services: Services): string[] {
  const gossiped = endpointsOf(services)
    .status.members()
    .map((member) => member.Tags.region)
    .filter((region) => region !== undefined);
  return [...new Set([services.agent.region, ...gossiped])].sort();
}

const DEFAULT_TTL = "15m";
const MAX_TTL_HOURS = 24 * 30;

/** Milliseconds, of a duration like "15m" or nanoseconds. */
function joinTokenTTL(value: unknown): number {
  const given = value ?? DEFAULT_TTL;
  const nanoseconds = typeof given === "string" ? parseDuration(given) : given;
  if (typeof nanoseconds !== "number" || !(nanoseconds >= 1e9 && nanoseconds <= MAX_TTL_HOURS * 3600e9)) {
    throw new HttpError(
      400,
      `TTL must be a duration like "15m" or nanoseconds, from 1s to ${MAX_TTL_HOURS}h; got ${JSON.stringify(value)}`,
    );
  }
  return Math.floor(nanoseconds / 1e6);
}
