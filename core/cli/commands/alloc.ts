import type { Allocation, AllocListStub, AllocResourceUsage } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { printJson } from "../format.js";
import { defineFs } from "./alloc-fs.js";
import { defineLogs } from "./alloc-logs.js";
import { defineAllocStop } from "./alloc-stop.js";
import { allocationText } from "./alloc-text.js";
import { findAllocation } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

export interface AllocStatusFlags {
  readonly short?: boolean;
  readonly stats?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

/** `alloc status|logs|fs|stop` */
export function register(program: Command): void {
  const alloc = program
    .command("alloc")
    .summary("look at allocations, their logs and files; stop them")
    .description("Everything about allocations.");
  const status = alloc
    .command("status [alloc]")
    .summary("how an allocation does")
    .description("Shows an allocation: its tasks, their resources and the events of their life.")
    .option("--short", "one line a task")
    .option("--stats", "detailed usage of memory and CPU")
    .option("--verbose", "whole ids, exact times, why it was placed where it is")
    .option("--json", "the API's answer instead of text; without an id: all allocations")
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      allocStatus(openSession(self), id, self.opts()),
    );
  withExamples(
    withApiFlags(status),
    ["drover alloc status 1b2cb536", "the allocation whose id begins so"],
    ["drover alloc status -verbose 1b2cb536", "with the scores of the nodes it could have had"],
  );
  defineLogs(alloc);
  defineFs(alloc);
  defineAllocStop(alloc);
}

export async function allocStatus(
  session: Session,
  id: string | undefined,
  flags: AllocStatusFlags,
): Promise<void> {
  const { client, io } = session;
  if (id === undefined) {
    if (flags.json !== true)
      throw new ExitError(1, 'Name an allocation; "drover job status JOB" lists those of a job');
    const all = await attempt("Error querying allocations", client.get<AllocListStub[]>("/v1/allocations"));
    io.out(printJson(all.value));
    return;
  }
  const found = await findAllocation(session, id);
  const answer = await attempt(
    "Error querying allocation",
    client.get<Allocation>(`/v1/allocation/${found.ID}`),
  );
  if (flags.json === true) {
    io.out(printJson(answer.value));
    return;
  }
  const options = {
    short: flags.short === true,
    stats: flags.stats === true,
    verbose: flags.verbose === true,
  };
  io.out(allocationText(answer.value, await usageOf(session, answer.value, options.short), options, io));
}

async function usageOf(
  { client }: Session,
  alloc: Allocation,
  short: boolean,
): Promise<AllocResourceUsage | undefined> {
  if (short || alloc.ClientStatus !== "running") return undefined;
  try {
    return (await client.get<AllocResourceUsage>(`/v1/client/allocation/${alloc.ID}/stats`)).value;
  } catch {
    // Its node is cut off, or it ended just now: what it was given is shown without what it uses.
    return undefined;
  }
}
