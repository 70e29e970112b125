/** The reading side of https://developer.hashicorp.com/nomad/api-docs/deployments */
import { StateTable } from "@drover/plugin-sdk";
import { checkUUID } from "../errors.js";
import { query } from "../query.js";
import { type Route, read } from "../route.js";
import { allocationStubs } from "../rows.js";
import type { Services } from "../services.js";

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
