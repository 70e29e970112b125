/** https://developer.hashicorp.com/nomad/api-docs/search: ids by prefix. */
import { HttpError, SearchContext, type StateSnapshot, StateTable } from "@drover/plugin-sdk";
import { query } from "../query.js";
import { type Route, write } from "../route.js";
import type { Services } from "../services.js";

/** Most matches of one context. */
const LIMIT = 20;

const CONTEXTS = [
  "allocs",
  "jobs",
  "nodes",
  "evals",
  "deployment",
  "plugins",
  "volumes",
  "scaling_policy",
  "namespaces",
] as const;
type Context = (typeof CONTEXTS)[number];

type Search = (snapshot: StateSnapshot, namespace: string, prefix: string) => Iterable<string>;

/** Contexts that have anything to find, with the table that they are found in. */
const SEARCHES: Partial<Record<Context, { readonly table: StateTable; readonly ids: Search }>> = {
  allocs: {
    table: StateTable.Allocations,
    ids: (snapshot, namespace, prefix) => idsOf(snapshot.allocations({ namespace, prefix })),
  },
  jobs: {
    table: StateTable.Jobs,
    ids: (snapshot, namespace, prefix) => idsOf(snapshot.jobs({ namespace, prefix })),
  },
  nodes: {
    table: StateTable.Nodes,
    ids: (snapshot, _namespace, prefix) => idsOf(snapshot.nodes(prefix)),
  },
  evals: {
    table: StateTable.Evaluations,
    ids: (snapshot, namespace, prefix) => idsOf(snapshot.evaluations({ namespace, prefix })),
  },
  deployment: {
    table: StateTable.Deployments,
    ids: (snapshot, namespace, prefix) => idsOf(snapshot.deployments({ namespace, prefix })),
  },
};

export function searchRoutes(services: Services): Route[] {
  return [
    write("/v1/search", (request) => {
      const body = request.object();
      const prefix = body.Prefix ?? "";
      if (typeof prefix !== "string") throw new HttpError(400, "Prefix must be a string");
      const contexts = contextsOf(body.Context);
      const tables = contexts.flatMap((context) => SEARCHES[context]?.table ?? []);
      return query(services, request, tables, (snapshot) => {
        const matches: Partial<Record<Context, string[] | null>> = {};
        const truncations: Partial<Record<Context, boolean>> = {};
        for (const context of contexts) {
          const found = take(
            SEARCHES[context]?.ids(snapshot, request.namespace, prefix) ?? namesIn(context, prefix),
          );
          matches[context] = found.length === 0 ? null : found.slice(0, LIMIT);
          truncations[context] = found.length > LIMIT;
        }
        const index = tables.length === 0 ? snapshot.index : snapshot.tableIndex(...tables);
        const value = {
          Index: index,
          KnownLeader: true,
          LastContact: 0,
          Matches: matches,
          Truncations: truncations,
        };
        return { index, value };
      });
    }),
  ];
}

/** The default namespace is the only other thing that has a name; plugins, volumes and policies have no table. */
function namesIn(context: Context, prefix: string): string[] {
  return context === "namespaces" && "default".startsWith(prefix) ? ["default"] : [];
}

function contextsOf(context: unknown): readonly Context[] {
  if (context === undefined || context === "" || context === SearchContext.All) return CONTEXTS;
  if (CONTEXTS.includes(context as Context)) return [context as Context];
  throw new HttpError(
    500,
    `context must be one of [${CONTEXTS.join(" ")}] or 'all' for all contexts; got ${JSON.stringify(context)}`,
  );
}

function* idsOf(rows: Iterable<{ readonly ID: string }>): Generator<string> {
  for (const row of rows) yield row.ID;
}

/** One more than may be shown, to know whether there are more. */
function take(ids: Iterable<string>): string[] {
  const taken: string[] = [];
  for (const id of ids) {
    taken.push(id);
    if (taken.length > LIMIT) break;
  }
  return taken;
}
