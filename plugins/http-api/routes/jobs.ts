/** https://developer.hashicorp.com/nomad/api-docs/jobs */
import { HttpError, type Job, StateTable } from "@drover/plugin-sdk";
import { type Answer, json, written } from "../answer.js";
import { kindOf } from "../json-body.js";
import { evaluationDetail, jobStub, plannedEvaluation } from "../json-shapes.js";
import { query } from "../query.js";
import type { ApiRequest } from "../request.js";
import { dispatch, type Methods, type Route, route, write } from "../route.js";
import { allocationStubs, mapRows } from "../rows.js";
import { endpointsOf, type Services } from "../services.js";

const { Jobs, JobVersions, JobSummaries, Allocations, Evaluations, Deployments } = StateTable;
const NOT_FOUND = "job not found";

type JobHandler = (request: ApiRequest, id: string) => Promise<Answer> | Answer;

export function jobRoutes(services: Services): Route[] {
  const bySuffix: Readonly<Record<string, Partial<Record<keyof Methods, JobHandler>>>> = {
    allocations: { GET: (request, id) => allocations(services, request, id) },
    evaluations: { GET: (request, id) => evaluations(services, request, id) },
    summary: { GET: (request, id) => summary(services, request, id) },
    versions: { GET: (request, id) => versions(services, request, id) },
    deployments: { GET: (request, id) => deployments(services, request, id) },
    deployment: { GET: (request, id) => latestDeployment(services, request, id) },
    plan: both((request, id) => plan(services, request, id)),
    stable: both((request, id) => stable(services, request, id)),
    revert: both((request, id) => revert(services, request, id)),
    evaluate: both((request, id) => evaluate(services, request, id)),
  };
  const itself: Partial<Record<keyof Methods, JobHandler>> = {
    GET: (request, id) => job(services, request, id),
    ...both((request, id) => register(services, request, id)),
    DELETE: (request, id) => deregister(services, request, id),
  };
  const oneJob = (request: ApiRequest) => {
    const [id, suffix] = splitSuffix(request.param("*"));
    const handlers = suffix === undefined ? itself : bySuffix[suffix];
    if (handlers === undefined) throw new HttpError(404, "");
    return dispatch(
      Object.fromEntries(
        Object.entries(handlers).map(([method, handle]) => [method, (r: ApiRequest) => handle(r, id)]),
      ),
      request,
    );
  };
  return [
    route("/v1/jobs", {
      GET: (request) => jobs(services, request),
      ...both((request) => register(services, request, undefined)),
    }),
    write("/v1/jobs/parse", (request) => parse(services, request)),
    write("/v1/validate/job", (request) => validate(services, request)),
    { path: "/v1/job/*", handle: oneJob },
  ];
}

function both<H>(handler: H): { POST: H; PUT: H } {
  return { POST: handler, PUT: handler };
}

/**
 * What may follow a job's id. Ids contain slashes (`cron/periodic-1795445352`), so a path is told by its end. The names
 * without an answer here are no part of an id either.
 */
const SUFFIX =
  /^(.+)\/(allocations|evaluations|summary|versions|deployments|deployment|evaluate|plan|dispatch|revert|stable|scale|periodic\/force)$/s;

function splitSuffix(path: string): [id: string, suffix: string | undefined] {
  const match = SUFFIX.exec(path);
  return match === null ? [path, undefined] : [match[1]!, match[2]!];
}

function jobs(services: Services, request: ApiRequest): Promise<Answer> {
  const { namespace, prefix } = request;
  return query(services, request, [Jobs, JobSummaries], (snapshot) => ({
    index: snapshot.tableIndex(Jobs, JobSummaries),
    rows: mapRows(snapshot.jobs({ namespace, prefix }), (row) =>
      jobStub(row, snapshot.jobSummary(row.Namespace, row.ID)),
    ),
  }));
}

function job(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  return query(services, request, [Jobs], (snapshot) => {
    const found = snapshot.job(request.namespace, id);
    return found === null
      ? { index: snapshot.tableIndex(Jobs), missing: NOT_FOUND }
      : { index: found.ModifyIndex, value: found };
  });
}

function summary(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  return query(services, request, [JobSummaries], (snapshot) => {
    const found = snapshot.jobSummary(request.namespace, id);
    return found === null
      ? { index: snapshot.tableIndex(JobSummaries), missing: NOT_FOUND }
      : { index: found.ModifyIndex, value: found };
  });
}

function versions(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const diffs = request.flag("diffs");
  return query(services, request, [Jobs, JobVersions], (snapshot) => {
    const found = snapshot.jobVersions(request.namespace, id);
    const newest = found[0];
    if (newest === undefined) {
      return { index: snapshot.tableIndex(Jobs, JobVersions), missing: "job versions not found" };
    }
    const index = found.reduce((highest, version) => Math.max(highest, version.ModifyIndex), 0);
    return {
      index,
      value: {
        Diffs: diffs ? endpointsOf(services).jobs.diffVersions(found) : null,
        Index: index,
        KnownLeader: true,
        LastContact: 0,
        Versions: found,
      },
    };
  });
}

function allocations(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const all = request.flag("all");
  return query(services, request, [Allocations], (snapshot) => {
    // A job that was purged and registered anew is another job: its older allocations come with `all` only.
    const since = all ? 0 : (snapshot.job(request.namespace, id)?.CreateIndex ?? 0);
    const rows = snapshot
      .allocationsByJob(request.namespace, id)
      .filter((alloc) => alloc.CreateIndex >= since);
    return { index: snapshot.tableIndex(Allocations), rows: allocationStubs(snapshot, rows) };
  });
}

function evaluations(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  return query(services, request, [Evaluations], (snapshot) => ({
    index: snapshot.tableIndex(Evaluations),
    rows: mapRows(snapshot.evaluationsByJob(request.namespace, id), evaluationDetail),
  }));
}

function deployments(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const all = request.flag("all");
  return query(services, request, [Deployments], (snapshot) => {
    const created = snapshot.job(request.namespace, id)?.CreateIndex;
    const rows = snapshot
      .deploymentsByJob(request.namespace, id)
      .filter((deployment) => all || created === undefined || deployment.JobCreateIndex === created);
    return { index: snapshot.tableIndex(Deployments), rows };
  });
}

function latestDeployment(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  return query(services, request, [Deployments], (snapshot) => {
    const found = snapshot.latestDeployment(request.namespace, id);
    return { index: found?.ModifyIndex ?? snapshot.tableIndex(Deployments), value: found };
  });
}

async function register(services: Services, request: ApiRequest, id: string | undefined): Promise<Answer> {
  const body = request.object();
  const submitted = jobOf(body);
  if (typeof submitted.ID !== "string" || submitted.ID === "") {
    throw new HttpError(400, "Job ID hasn't been provided");
  }
  if (id !== undefined && submitted.ID !== id) throw new HttpError(400, "Job ID does not match name");
  const answer = await endpointsOf(services).jobs.register({
    job: submitted,
    namespace: namespaceOf(request, submitted, body),
    region: stringOf(submitted.Region) ?? services.agent.region,
    enforceIndex: body.EnforceIndex === true,
    jobModifyIndex: indexOf(body.JobModifyIndex),
    preserveCounts: body.PreserveCounts === true,
  });
  return written(answer);
}

async function plan(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const body = request.object();
  const submitted = jobOf(body);
  if (typeof submitted.ID !== "string" || submitted.ID === "") {
    throw new HttpError(400, "Job must have a valid ID");
  }
  if (submitted.ID !== id) throw new HttpError(400, "Job ID does not match");
  const answer = await endpointsOf(services).jobs.plan({
    job: submitted,
    namespace: namespaceOf(request, submitted, body),
    diff: body.Diff === true,
  });
  return written({ ...answer, CreatedEvals: answer.CreatedEvals?.map(plannedEvaluation) ?? null });
}

async function deregister(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const { namespace } = request;
  const purge = request.flag("purge");
  return written(await endpointsOf(services).jobs.deregister({ namespace, jobId: id, purge }));
}

async function evaluate(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const body = request.optionalObject();
  if (typeof body.JobID === "string" && body.JobID !== "" && body.JobID !== id) {
    throw new HttpError(400, "JobID not same as job name");
  }
  const options = body.EvalOptions as { ForceReschedule?: unknown } | null | undefined;
  const answer = await endpointsOf(services).jobs.evaluate({
    namespace: request.namespace,
    jobId: id,
    forceReschedule: options?.ForceReschedule === true,
  });
  return written(answer);
}

async function stable(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const body = versionOf(request.object(), id);
  if (typeof body.Stable !== "boolean") throw new HttpError(400, "Stable must be true or false");
  return written(
    await endpointsOf(services).jobs.stable({
      namespace: request.namespace,
      jobId: id,
      version: body.JobVersion,
      stable: body.Stable,
    }),
  );
}

async function revert(services: Services, request: ApiRequest, id: string): Promise<Answer> {
  const body = versionOf(request.object(), id);
  const prior = body.EnforcePriorVersion ?? null;
  if (prior !== null && !isVersion(prior)) {
    throw new HttpError(400, "EnforcePriorVersion must be the number of a version, or null");
  }
  const answer = await endpointsOf(services).jobs.revert({
    namespace: request.namespace,
    jobId: id,
    version: body.JobVersion,
    enforcePriorVersion: prior,
  });
  return json(answer, {
    "X-Nomad-Index": String(answer.Index),
    "X-Nomad-KnownLeader": String(answer.KnownLeader),
    "X-Nomad-LastContact": String(answer.LastContact),
  });
}

function isVersion(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** The body of a request about one version of a job. */
function versionOf(
  body: Record<string, unknown>,
  id: string,
): Record<string, unknown> & { readonly JobVersion: number } {
  if (body.JobID === undefined || body.JobID === null || body.JobID === "")
    throw new HttpError(400, "JobID must be specified");
  if (body.JobID !== id) throw new HttpError(400, "Job ID does not match");
  const JobVersion = body.JobVersion ?? 0;
  if (!isVersion(JobVersion)) throw new HttpError(400, "JobVersion must be the number of a version");
  return { ...body, JobVersion };
}

async function validate(services: Services, request: ApiRequest): Promise<Answer> {
  const body = request.object();
  const submitted = jobOf(body);
  const namespace = namespaceOf(request, submitted, body);
  return json(await endpointsOf(services).jobs.validate({ job: submitted, namespace }));
}

/** Job files are small; a parser is the last place to meet a large input. */
const MAX_JOB_FILE = 1024 * 1024;

async function parse(services: Services, request: ApiRequest): Promise<Answer> {
  if ((request.rawBody?.length ?? 0) > MAX_JOB_FILE) {
    throw new HttpError(413, `Job spec is too large: at most ${MAX_JOB_FILE} bytes can be parsed`);
  }
  const body = request.object();
  if (body.JobHCL === undefined || body.JobHCL === null || body.JobHCL === "") {
    throw new HttpError(400, "Job spec is empty");
  }
  if (typeof body.JobHCL !== "string") {
    throw new HttpError(
      400,
      `json: cannot unmarshal ${kindOf(body.JobHCL)} into JobHCL: it must be a string`,
    );
  }
  return json(
    await endpointsOf(services).jobs.parse({ hcl: body.JobHCL, canonicalize: body.Canonicalize === true }),
  );
}

function jobOf(body: Record<string, unknown>): Partial<Job> {
  const submitted = body.Job;
  if (submitted === undefined || submitted === null) throw new HttpError(400, "Job must be specified");
  if (typeof submitted !== "object" || Array.isArray(submitted)) {
    throw new HttpError(400, `json: cannot unmarshal ${kindOf(submitted)} into Job: it must be an object`);
  }
  return submitted;
}

function namespaceOf(request: ApiRequest, submitted: Partial<Job>, body: Record<string, unknown>): string {
  return (
    stringOf(submitted.Namespace) ??
    (request.query.get("namespace") || undefined) ??
    stringOf(body.Namespace) ??
    "default"
  );
}

function stringOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function indexOf(value: unknown): number {
  if (value === undefined || value === null) return 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new HttpError(400, "json: cannot unmarshal JobModifyIndex: it must be a whole number");
}
