/** https://developer.hashicorp.com/nomad/api-docs/operator/raft: who takes part in consensus. */
import { json } from "../answer.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, route, write } from "../route.js";
import { endpointsOf, type Services } from "../services.js";

export function raftRoutes(services: Services): Route[] {
  const operator = () => endpointsOf(services).operator;
  return [
    read("/v1/operator/raft/configuration", async (request) => {
      if (!request.stale) await endpointsOf(services).status.catchUp(request.consistent);
      return json(operator().raftConfiguration());
    }),
    route("/v1/operator/raft/peer", {
      DELETE: async (request) => {
        await operator().removeRaftPeer(peerOf(request));
        return json(null);
      },
    }),
    // Of later versions of Nomad; 1.1 has no way to ask for it.
    write("/v1/operator/raft/transfer-leadership", async (request) =>
      json(await operator().transferLeadership(peerOf(request))),
    ),
  ];
}

/** What names the server; the endpoint refuses both and neither. */
function peerOf({ query }: ApiRequest): { readonly id?: string; readonly address?: string } {
  const id = query.get("id");
  const address = query.get("address");
  return { ...(id ? { id } : {}), ...(address ? { address } : {}) };
}
