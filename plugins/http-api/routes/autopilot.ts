/** https://developer.hashicorp.com/nomad/api-docs/operator/autopilot: settings of autopilot, health of the servers. */
import { type Answer, json } from "../answer.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, route } from "../route.js";
import { endpointsOf, type Services } from "../services.js";

export function autopilotRoutes(services: Services): Route[] {
  return [
    route("/v1/operator/autopilot/configuration", {
      GET: async (request) => {
        const { operator, status } = endpointsOf(services);
        if (!request.stale) await status.catchUp(request.consistent);
        return json(operator.autopilotConfiguration());
      },
      POST: (request) => setConfiguration(services, request),
      PUT: (request) => setConfiguration(services, request),
    }),
    read("/v1/operator/autopilot/health", async () => {
      const health = await endpointsOf(services).operator.autopilotHealth();
      // Load balancers and scripts look at the code alone.
      return { ...json(health), status: health.Healthy ? 200 : 429 };
    }),
  ];
}

/** Answers `true`, or `false` where the configuration is not at the index that `?cas` names. */
async function setConfiguration(services: Services, request: ApiRequest): Promise<Answer> {
  const cas = request.query.has("cas") ? request.count("cas", 0) : undefined;
  const { operator } = endpointsOf(services);
  const { Index, Updated } = await operator.setAutopilotConfiguration(request.object(), cas);
  return json(Updated, { "X-Nomad-Index": String(Index) });
}
