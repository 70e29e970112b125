/** https://developer.hashicorp.com/nomad/api-docs/allocations */
import { StateTable } from "@drover/plugin-sdk";
import { written } from "../answer.js";
import { checkUUID } from "../errors.js";
import { allocationDetail } from "../json-shapes.js";
import { query } from "../query.js";
import { type Route, read, write } from "../route.js";
import { allocationStubs } from "../rows.js";
import { endpointsOf, type Services } from "../services.js";

const { Allocations } = StateTable;

export function allocationRoutes(services: Services): Route[] {
  return [
    read("/v1/allocations", (request) => {
      const { namespace, prefix } = request;
      const withResources = request.flag("resources");
      return query(services, request, [Allocations], (snapshot) => ({
        index: snapshot.tableIndex(Allocations),
        rows: allocationStubs(snapshot, snapshot.allocations({ namespace, prefix }), withResources),
      }));
    }),
    read("/v1/allocation/:id", (request) => {
      const id = request.param("id");
      checkUUID("alloc", id);
      return query(services, request, [Allocations], (snapshot) => {
        const alloc = snapshot.allocation(id);
        return alloc === null
          ? { index: snapshot.tableIndex(Allocations), missing: "alloc not found" }
          : { index: alloc.ModifyIndex, value: allocationDetail(alloc, snapshot.allocationJob(alloc)) };
      });
    }),
    write("/v1/allocation/:id/stop", async (request) => {
      const id = request.param("id");
      checkUUID("alloc", id);
      return written(await endpointsOf(services).allocations.stop(id));
    }),
  ];
}
