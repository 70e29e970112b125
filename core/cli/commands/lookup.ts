/** Finds the one object that an id or the beginning of one names. */
import type { AllocListStub, Deployment, Evaluation, JobListStub, NodeListStub } from "@drover/plugin-sdk";
import type { ApiClient } from "../client.js";
import { ExitError } from "../exit.js";
import { allocationTable } from "./allocation-table.js";
import { deploymentTable } from "./deployment-text.js";
import { evaluationTable } from "./evaluation-text.js";
import { jobTable } from "./job-table.js";
import { nodeTable } from "./node-table.js";
import { attempt, type Session } from "./session.js";

/**
 * Ids are looked up by prefix of whole bytes, as Nomad's API demands of UUIDs (an odd digit at the end is compared
 * here).
 */
async function byPrefix<T extends { readonly ID: string }>(
  client: ApiClient,
  path: string,
  prefix: string,
): Promise<T[]> {
  if (prefix.length < 2) throw new ExitError(1, "Identifier must contain at least two characters.");
  const digits = prefix.replaceAll("-", "").length;
  const whole = digits % 2 === 0 ? prefix : prefix.slice(0, -1);
  const { value } = await client.get<T[]>(path, { prefix: whole });
  const matches = value.filter((row) => row.ID.startsWith(prefix.toLowerCase()));
  return matches.filter((row) => row.ID === prefix).length === 1
    ? matches.filter((row) => row.ID === prefix)
    : matches;
}

function only<T>(
  matches: readonly T[],
  noun: string,
  nouns: string,
  id: string,
  list: (rows: readonly T[]) => string,
): T {
  const [first, second] = matches;
  if (first === undefined) throw new ExitError(1, `No ${noun}(s) with prefix or id "${id}" found`);
  if (second !== undefined) throw new ExitError(1, `Prefix matched multiple ${nouns}\n\n${list(matches)}`);
  return first;
}

export async function findJob({ client }: Session, id: string): Promise<JobListStub> {
  const { value } = await attempt(
    "Error querying job",
    client.get<JobListStub[]>("/v1/jobs", { prefix: id }),
  );
  const exact = value.filter((job) => job.ID === id);
  return only(exact.length === 1 ? exact : value, "job", "jobs", id, jobTable);
}

export async function findAllocation({ client, io }: Session, id: string): Promise<AllocListStub> {
  const matches = await attempt(
    "Error querying allocation",
    byPrefix<AllocListStub>(client, "/v1/allocations", id),
  );
  return only(matches, "allocation", "allocations", id, (rows) => allocationTable(rows, io.now()));
}

export async function findEvaluation({ client, io }: Session, id: string): Promise<Evaluation> {
  const matches = await attempt(
    "Error querying evaluation",
    byPrefix<Evaluation>(client, "/v1/evaluations", id),
  );
  return only(matches, "evaluation", "evaluations", id, (rows) => evaluationTable(rows, io.now()));
}

export async function findDeployment({ client }: Session, id: string): Promise<Deployment> {
  const matches = await attempt(
    "Error retrieving deployment",
    byPrefix<Deployment>(client, "/v1/deployments", id),
  );
  return only(matches, "deployment", "deployments", id, (rows) => deploymentTable(rows));
}

export async function findNode({ client }: Session, id: string): Promise<NodeListStub> {
  const matches = await attempt("Error querying node", byPrefix<NodeListStub>(client, "/v1/nodes", id));
  return only(matches, "node", "nodes", id, (rows) => nodeTable(rows, { verbose: false }));
}

/** An allocation of a job: one that runs where there is one, else the newest. */
export async function allocationOfJob(session: Session, jobId: string): Promise<AllocListStub> {
  const job = await findJob(session, jobId);
  const path = `/v1/job/${encodeURIComponent(job.ID)}/allocations`;
  const { value } = await attempt(
    "Error querying job allocations",
    session.client.get<AllocListStub[]>(path),
  );
  const newest = value.toSorted((a, b) => b.CreateIndex - a.CreateIndex);
  const chosen = newest.find((alloc) => alloc.ClientStatus === "running") ?? newest[0];
  if (chosen === undefined) throw new ExitError(1, `Job "${job.ID}" has no allocations yet`);
  return chosen;
}
