import type { Evaluation, JobRegisterResponse } from "@drover/plugin-sdk";
import type { ApiClient } from "./client.js";
import { failedGroups, failedGroupTitle, metricLines } from "./commands/evaluation-text.js";
import { readJobFile } from "./commands/job-file.js";
import type { Session } from "./commands/session.js";

/** Milliseconds. */
const RUNNING_DEADLINE = 60_000;
const POLL = 50;
const LOG_DEADLINE = 5_000;
const LOG_LINES = 10;

/** Rows of `GET /v1/job/:id/allocations`, as far as they are used here. */
interface AllocationRow {
  readonly ID: string;
  readonly Name: string;
  readonly NodeName: string;
  readonly ClientStatus: string;
  readonly EvalID: string;
  readonly TaskStates: Readonly<
    Record<string, { readonly Events: readonly { readonly DisplayMessage: string }[] | null }>
  > | null;
}

export interface StartedJob {
  readonly id: string;
  readonly allocations: readonly AllocationRow[];
}

type Print = (line: string) => void;

/** Registers a job and tells how it goes until it runs. Throws an Error for a job that is refused. */
export async function runJob(
  session: Session,
  file: string,
  print: Print,
  signal: AbortSignal,
): Promise<StartedJob> {
  const { client } = session;
  const job = await readJobFile(session, file, {});
  const id = job.ID ?? "";
  const begin = performance.now();
  const { value: registered } = await client.put<JobRegisterResponse>("/v1/jobs", { Job: job });
  if (registered.Warnings) print(registered.Warnings);
  if (registered.EvalID === "") {
    // A periodic or parameterized job runs when its time comes or when it is dispatched.
    print(`==> Job "${id}" registered; it starts nothing yet`);
    return { id, allocations: [] };
  }
  print(`==> Job "${id}" registered, evaluation ${registered.EvalID.slice(0, 8)}`);
  const expected = (job.TaskGroups ?? []).reduce((sum, group) => sum + (group.Count ?? 1), 0);
  const allocations = await follow(client, id, registered.EvalID, expected, print, signal);
  const running = allocations.filter(({ ClientStatus }) => isUp(ClientStatus));
  if (running.length > 0)
    print(`==> ${running.length} of ${expected} running after ${seconds(performance.now() - begin)}`);
  return { id, allocations: running };
}

/** Prints every change of an allocation's status until all run, or the deadline or an abort comes. */
async function follow(
  api: ApiClient,
  job: string,
  evaluationId: string,
  expected: number,
  print: Print,
  signal: AbortSignal,
): Promise<AllocationRow[]> {
  const statuses = new Map<string, string>();
  const end = performance.now() + RUNNING_DEADLINE;
  let isExplained = false;
  for (;;) {
    const path = `/v1/job/${encodeURIComponent(job)}/allocations`;
    const { value: rows } = await api.get<AllocationRow[]>(path, {}, signal);
    for (const row of rows) {
      const before = statuses.get(row.ID);
      if (before === row.ClientStatus) continue;
      statuses.set(row.ID, row.ClientStatus);
      const change = before === undefined ? row.ClientStatus : `${before} → ${row.ClientStatus}`;
      print(
        `    ${row.ID.slice(0, 8)}  ${row.Name}  ${change}${row.ClientStatus === "failed" ? `: ${lastEvent(row)}` : ""}`,
      );
    }
    const settled = rows.filter(({ ClientStatus }) => isUp(ClientStatus) || ClientStatus === "failed");
    if (settled.length >= expected || signal.aborted) return rows;
    if (!isExplained) isExplained = await explainUnplaced(api, evaluationId, print);
    if (performance.now() > end) {
      print(
        `    not everything runs after ${RUNNING_DEADLINE / 1000} s; the cluster stays up, see drover job status ${job}`,
      );
      return rows;
    }
    await pause(POLL, signal);
  }
}

/** Why a part of the job found no node, where the evaluation says so. */
async function explainUnplaced(api: ApiClient, evaluationId: string, print: Print): Promise<boolean> {
  const { value: evaluation } = await api.get<Evaluation>(`/v1/evaluation/${evaluationId}`);
  const failed = failedGroups(evaluation);
  for (const [group, metric] of failed) {
    print(`    ${failedGroupTitle(group, metric)}`);
    for (const line of metricLines(metric)) print(`      ${line}`);
  }
  return failed.length > 0;
}

/** Prints the first lines of the first task's output, at most ten and for at most five seconds. */
export async function showFirstLines(
  api: ApiClient,
  { allocations }: StartedJob,
  print: Print,
  signal: AbortSignal,
): Promise<void> {
  const first = allocations[0];
  const task = Object.keys(first?.TaskStates ?? {})[0];
  if (first === undefined || task === undefined) return;
  print(`==> First output of task "${task}" (${first.ID.slice(0, 8)}):`);
  const query = { task, type: "stdout", origin: "start", follow: true, plain: true };
  const enough = new AbortController();
  const timer = setTimeout(() => enough.abort(), LOG_DEADLINE);
  const decoder = new TextDecoder();
  const until = AbortSignal.any([enough.signal, signal]);
  let shown = 0;
  try {
    let rest = "";
    for await (const chunk of api.stream(`/v1/client/fs/logs/${first.ID}`, query, until)) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines.slice(0, LOG_LINES - shown)) print(`    ${line}`);
      shown += lines.length;
      if (shown >= LOG_LINES) break;
    }
    if (rest !== "" && shown < LOG_LINES) print(`    ${rest}`);
  } catch (error) {
    if (!until.aborted) print(`    (${(error as Error).message})`);
  } finally {
    clearTimeout(timer);
    enough.abort();
  }
}

function isUp(status: string): boolean {
  return status === "running" || status === "complete";
}

function lastEvent({ TaskStates }: AllocationRow): string {
  const events = Object.values(TaskStates ?? {}).flatMap(({ Events }) => Events ?? []);
  return events.at(-1)?.DisplayMessage ?? "see drover alloc status";
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}
