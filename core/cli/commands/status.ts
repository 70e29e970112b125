/** `status`: whatever an id names. */
import type { SearchResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { allocStatus } from "./alloc.js";
import { deploymentStatus } from "./deployment.js";
import { evalStatus } from "./eval.js";
import { type JobStatusFlags, jobStatus, withJobStatusFlags } from "./job-status.js";
import { nodeStatus } from "./node.js";
import { attempt, openSession, type Session, withExamples } from "./session.js";

export function register(program: Command): void {
  const command = program
    .command("status [id]")
    .summary("how anything does, by its id")
    .description(
      "Lists the jobs, or shows the job, allocation, evaluation, node or deployment that ID begins.",
    )
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      status(openSession(self), id, self.opts()),
    );
  withExamples(
    withJobStatusFlags(command),
    ["drover status", "all jobs"],
    ["drover status web", "job web"],
    ["drover status 1b2cb536", "whatever has an id that begins so"],
  );
}

type Show = (session: Session, id: string, flags: JobStatusFlags) => Promise<void>;

const SHOWN: Readonly<Record<string, Show>> = {
  jobs: jobStatus,
  allocs: allocStatus,
  evals: evalStatus,
  nodes: nodeStatus,
  deployment: deploymentStatus,
};

async function status(session: Session, id: string | undefined, flags: JobStatusFlags): Promise<void> {
  if (id === undefined) return jobStatus(session, undefined, flags);
  const answer = session.client.put<SearchResponse>("/v1/search", { Prefix: id, Context: "all" });
  const { value } = await attempt("Error querying search with id", answer);
  const found = Object.entries(value.Matches).filter(
    (entry): entry is [string, string[]] => entry[0] in SHOWN && entry[1] !== null && entry[1].length > 0,
  );
  const exact = found.filter(([, ids]) => ids[0] === id);
  const candidates = exact.length > 0 ? exact : found;
  const [first, second] = candidates;
  if (first === undefined) throw new ExitError(1, `Unable to resolve ID: "${id}"`);
  if (second !== undefined) {
    const lists = candidates.map(
      ([kind, ids]) => `${kind[0]!.toUpperCase()}${kind.slice(1)}:\n${ids.join(", ")}`,
    );
    throw new ExitError(1, `Multiple matches found for id "${id}"\n\n${lists.join("\n\n")}`);
  }
  await SHOWN[first[0]]!(session, id, flags);
}
