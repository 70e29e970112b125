/** https://developer.hashicorp.com/nomad/api-docs/nodes */
import { type DrainSpec, HttpError, type NodeServerInfo, StateTable } from "@drover/plugin-sdk";
import { written } from "../answer.js";
import { parseDuration } from "../duration.js";
import { checkUUID } from "../errors.js";
import { kindOf } from "../json-body.js";
import { nodeDetail, nodeStub } from "../json-shapes.js";
import { query } from "../query.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, write } from "../route.js";
import { allocationDetails, mapRows } from "../rows.js";
import { endpointsOf, type Services } from "../services.js";

const { Allocations, Nodes } = StateTable;
/** Nanoseconds. */
const MAX_DEADLINE = 10 * 365 * 24 * 3600e9;

export function nodeRoutes(services: Services): Route[] {
  return [
    read("/v1/nodes", (request) => {
      const withResources = request.flag("resources");
      return query(services, request, [Nodes], (snapshot) => ({
        index: snapshot.tableIndex(Nodes),
        rows: mapRows(snapshot.nodes(request.prefix), (node) => nodeStub(node, withResources)),
      }));
    }),
    read("/v1/node/:id", (request) => {
      const id = nodeId(request);
      return query(services, request, [Nodes], (snapshot) => {
        const node = snapshot.node(id);
        return node === null
          ? { index: snapshot.tableIndex(Nodes), missing: "node not found" }
          : { index: node.ModifyIndex, value: nodeDetail(node) };
      });
    }),
    read("/v1/node/:id/allocations", (request) => {
      const id = request.param("id");
      return query(services, request, [Allocations], (snapshot) => ({
        index: snapshot.tableIndex(Allocations),
        rows: allocationDetails(snapshot, snapshot.allocationsByNode(id)),
      }));
    }),
    write("/v1/node/:id/evaluate", async (request) => {
      const endpoints = endpointsOf(services);
      const answer = await endpoints.nodes.evaluate(nodeId(request));
      return written({
        ...answer,
        Features: 0,
        HeartbeatTTL: 0,
        KnownLeader: false,
        LastContact: 0,
        LeaderRPCAddr: endpoints.status.leader(),
        Servers: servers(services),
      });
    }),
    write("/v1/node/:id/eligibility", async (request) => {
      const { Eligibility } = request.object();
      if (typeof Eligibility !== "string") {
        throw new HttpError(400, "missing required field: Eligibility (eligible or ineligible)");
      }
      return written(await endpointsOf(services).nodes.setEligibility(nodeId(request), Eligibility));
    }),
    write("/v1/node/:id/drain", async (request) => {
      const body = request.object();
      const given = body.NodeID;
      if (typeof given === "string" && given !== "" && given !== request.param("id")) {
        throw new HttpError(400, "Node ID does not match");
      }
      const answer = await endpointsOf(services).nodes.setDrain({
        nodeId: nodeId(request),
        spec: drainSpec(body.DrainSpec),
        markEligible: body.MarkEligible === true,
        meta: drainMeta(body.Meta),
      });
      return written(answer);
    }),
    write("/v1/node/:id/purge", async (request) =>
      written(await endpointsOf(services).nodes.purge(nodeId(request))),
    ),
  ];
}

function nodeId(request: ApiRequest): string {
  const id = request.param("id");
  checkUUID("node", id);
  return id;
}

/** Nanoseconds or a text like "1h30m"; a null spec ends the drain. */
function drainSpec(value: unknown): DrainSpec | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new HttpError(400, `json: cannot unmarshal ${kindOf(value)} into DrainSpec: it must be an object`);
  }
  const { Deadline = 0, IgnoreSystemJobs = false } = value as Record<string, unknown>;
  const deadline = typeof Deadline === "string" ? parseDuration(Deadline) : Deadline;
  if (typeof deadline !== "number" || !Number.isFinite(deadline)) {
    throw new HttpError(
      400,
      'DrainSpec.Deadline must be a number of nanoseconds or a duration like "1h": 0 is none, a negative one is now',
    );
  }
  if (deadline > MAX_DEADLINE) throw new HttpError(400, "DrainSpec.Deadline must be at most 10 years");
  if (typeof IgnoreSystemJobs !== "boolean")
    throw new HttpError(400, "DrainSpec.IgnoreSystemJobs must be true or false");
  return { Deadline: deadline, IgnoreSystemJobs };
}

function drainMeta(value: unknown): Record<string, string> | null {
  if (value === undefined || value === null) return null;
  const isMap =
    typeof value === "object" &&
    !Array.isArray(value) &&
    Object.values(value).every((each) => typeof each === "string");
  if (!isMap) throw new HttpError(400, "Meta must be an object of strings");
  return value as Record<string, string>;
}

function servers(services: Services): NodeServerInfo[] {
  return endpointsOf(services)
    .status.members()
    .filter((member) => member.Status === "alive" && member.Tags.region === services.agent.region)
    .map((member) => ({
      Datacenter: member.Tags.dc ?? "",
      RPCAdvertiseAddr: `${member.Tags.rpc_addr ?? member.Addr}:${member.Tags.port ?? ""}`,
      RPCMajorVersion: 1,
      RPCMinorVersion: 1,
    }));
}
