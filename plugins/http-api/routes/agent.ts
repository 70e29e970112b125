/** https://developer.hashicorp.com/nomad/api-docs/agent and /metrics: what this agent says of itself. */
import {
  type AgentHealthResponse,
  type AgentJoinResponse,
  type AgentMember,
  EndpointError,
  HttpError,
} from "@drover/plugin-sdk";
import { type Answer, empty, json } from "../answer.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, write } from "../route.js";
import { endpointsOf, type Services } from "../services.js";

export function agentRoutes(services: Services): Route[] {
  const { agent } = services;
  return [
    read("/v1/agent/self", () =>
      json({ config: agent.selfConfig, member: ownMember(services), stats: stats(services) }),
    ),
    read("/v1/agent/members", () =>
      json({
        Members: endpointsOf(services).status.members(),
        ServerDC: agent.datacenter,
        ServerName: agent.nodeName,
        ServerRegion: agent.region,
      }),
    ),
    write("/v1/agent/join", (request) => join(services, request)),
    write("/v1/agent/force-leave", async (request) => {
      const node = request.query.get("node") ?? "";
      if (node === "") throw new HttpError(400, "missing node to force leave");
      await endpointsOf(services).status.forceLeave(node);
      return empty;
    }),
    read("/v1/agent/servers", () => json(services.endpoints?.status.peers() ?? agent.config.client.servers)),
    read("/v1/agent/health", (request) => health(services, request)),
    read("/v1/metrics", (request) => metrics(services, request)),
  ];
}

/** As Nomad has it, a failure is not one of the request: its text is in the answer. */
async function join(services: Services, request: ApiRequest): Promise<Answer> {
  const addresses = request.query.getAll("address").filter((address) => address !== "");
  if (addresses.length === 0) throw new HttpError(400, "missing address to join");
  const value: AgentJoinResponse = { error: "", num_joined: 0 };
  try {
    value.num_joined = await endpointsOf(services).status.join(addresses);
  } catch (error) {
    if (!(error instanceof EndpointError) || error.status < 500) throw error;
    value.error = error.message;
  }
  return json(value);
}

const NO_MEMBER: AgentMember = {
  Addr: "",
  DelegateCur: 0,
  DelegateMax: 0,
  DelegateMin: 0,
  Name: "",
  Port: 0,
  ProtocolCur: 0,
  ProtocolMax: 0,
  ProtocolMin: 0,
  Status: "none",
  Tags: {},
};

function ownMember({ agent, endpoints }: Services): AgentMember {
  const name = `${agent.nodeName}.${agent.region}`;
  return endpoints?.status.members().find((member) => member.Name === name) ?? NO_MEMBER;
}

function stats({ client, endpoints }: Services): Record<string, Readonly<Record<string, string>>> {
  return {
    ...endpoints?.status.stats(),
    ...(client === undefined ? undefined : { client: client.stats() }),
  };
}

/** 200 when all that was asked for is well, 500 with the same body otherwise: load balancers look at the code alone. */
function health({ client, endpoints }: Services, request: ApiRequest): Answer {
  const types = request.query.getAll("type");
  const wanted = (type: string) => types.length === 0 || types.includes(type);
  const value: AgentHealthResponse = {};
  if (client !== undefined && wanted("client")) value.client = client.health();
  if (endpoints !== undefined && wanted("server")) value.server = endpoints.status.health();
  const ok = Object.values(value).every((check) => check.ok);
  return { ...json(value), status: ok ? 200 : 500 };
}

async function metrics({ metrics }: Services, request: ApiRequest): Promise<Answer> {
  const format = request.query.get("format") ?? "";
  if (format === "prometheus") {
    const type = "text/plain; version=0.0.4; charset=utf-8";
    return { body: { kind: "text", text: await metrics.toPrometheus(), type } };
  }
  if (format !== "")
    throw new HttpError(400, `unknown metrics format "${format}": leave it out or say prometheus`);
  return json(metrics.toJSON());
}
