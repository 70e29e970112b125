/** https://developer.hashicorp.com/nomad/api-docs/deployments */
import { HttpError, StateTable } from "@drover/plugin-sdk";
import { type Answer, written } from "../answer.js";
import { checkUUID } from "../errors.js";
import { query } from "../query.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, write } from "../route.js";
import { allocationStubs } from "../rows.js";
import { endpointsOf, type Services } from "../services.js";

const { Allocations, Deployments } = StateTable;

export function deploymentRoutes(services: Services): Route[] {
  return [
    read("/v1/deployments", (request) => {
      const { namespace, prefix } = request;
      return query(services, request, [Deployments], (snapshot) => ({
        index: snapshot.tableIndex(Deployments),
        rows: snapshot.deployments({ namespace, prefix }),
      }));
    }),
    change("promote", (request, deploymentId) => {
      const body = request.object();
      const groups = texts(body, "Groups");
      if (body.All !== true && groups.length === 0) {
        throw new HttpError(
          400,
          "Must specify either all groups (All) or a list of them (Groups) to promote",
        );
      }
      return endpointsOf(services).deployments.promote({ deploymentId, all: body.All === true, groups });
    }),
    change("fail", (_, deploymentId) => endpointsOf(services).deployments.fail(deploymentId)),
    change("pause", (request, deploymentId) => {
      const { Pause } = request.object();
      if (typeof Pause !== "boolean") throw new HttpError(400, "Pause must be true or false");
      return endpointsOf(services).deployments.pause(deploymentId, Pause);
    }),
    change("allocation-health", (request, deploymentId) => {
      const body = request.object();
      return endpointsOf(services).deployments.setHealth({
        deploymentId,
        healthy: texts(body, "HealthyAllocationIDs"),
        unhealthy: texts(body, "UnhealthyAllocationIDs"),
      });
    }),
    read("/v1/deployment/:id", (request) => {
      const id = request.param("id");
      checkUUID("deployment", id);
      return query(services, request, [Deployments], (snapshot) => {
        const deployment = snapshot.deployment(id);
        return deployment === null
          ? { index: snapshot.tableIndex(Deployments), missing: "deployment not found" }
          : { index: deployment.ModifyIndex, value: deployment };
      });
    }),
    read("/v1/deployment/allocations/:id", (request) => {
      const id = request.param("id");
      return query(services, request, [Allocations], (snapshot) => ({
        index: snapshot.tableIndex(Allocations),
        rows: allocationStubs(snapshot, snapshot.allocationsByDeployment(id)),
      }));
    }),
  ];
}

type Change = (request: ApiRequest, id: string) => Promise<{ readonly Index: number } & object>;

/** A write to one deployment; an id in the body has to be that of the path. */
function change(verb: string, handle: Change): Route {
  return write(`/v1/deployment/${verb}/:id`, async (request): Promise<Answer> => {
    const id = request.param("id");
    checkUUID("deployment", id);
    const { DeploymentID } = request.optionalObject();
    if (DeploymentID !== undefined && DeploymentID !== null && DeploymentID !== "" && DeploymentID !== id) {
      throw new HttpError(400, "Deployment ID does not match");
    }
    return written(await handle(request, id));
  });
}

function texts(body: Readonly<Record<string, unknown>>, key: string): string[] {
  const value = body[key] ?? [];
  if (!Array.isArray(value) || value.some((each) => typeof each !== "string")) {
    throw new HttpError(400, `${key} must be a list of strings`);
  }
  return value as string[];
}
