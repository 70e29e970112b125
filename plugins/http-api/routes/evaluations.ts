/** https://developer.hashicorp.com/nomad/api-docs/evaluations */
import { StateTable } from "@drover/plugin-sdk";
import { checkUUID } from "../errors.js";
import { evaluationDetail } from "../json-shapes.js";
import { query } from "../query.js";
import { type Route, read } from "../route.js";
import { allocationStubs, mapRows } from "../rows.js";
import type { Services } from "../services.js";

const { Allocations, Evaluations } = StateTable;

export function evaluationRoutes(services: Services): Route[] {
  return [
    read("/v1/evaluations", (request) => {
      const { namespace, prefix } = request;
      return query(services, request, [Evaluations], (snapshot) => ({
        index: snapshot.tableIndex(Evaluations),
        rows: mapRows(snapshot.evaluations({ namespace, prefix }), evaluationDetail),
      }));
    }),
    read("/v1/evaluation/:id", (request) => {
      const id = request.param("id");
      checkUUID("eval", id);
      return query(services, request, [Evaluations], (snapshot) => {
        const evaluation = snapshot.evaluation(id);
        return evaluation === null
          ? { index: snapshot.tableIndex(Evaluations), missing: "eval not found" }
          : { index: evaluation.ModifyIndex, value: evaluationDetail(evaluation) };
      });
    }),
    read("/v1/evaluation/:id/allocations", (request) => {
      const id = request.param("id");
      return query(services, request, [Allocations], (snapshot) => ({
        index: snapshot.tableIndex(Allocations),
        rows: allocationStubs(snapshot, snapshot.allocationsByEvaluation(id)),
      }));
    }),
  ];
}
