/** `alloc logs`: a task's output, whole, its end, or as it grows. */
import type { Allocation } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { jsonFrames } from "../json-frames.js";
import { allocationOfJob, findAllocation } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";
import { lastLines, type TailFlags, tailOf, withTailFlags } from "./tail.js";

interface LogFlags extends TailFlags {
  readonly stderr?: boolean;
  readonly job?: boolean;
  readonly task?: string;
  readonly verbose?: boolean;
}

export function defineLogs(alloc: Command): void {
  const command = alloc
    .command("logs <alloc> [task]")
    .summary("what a task printed")
    .description("Prints the output of a task. The task can be left out where the allocation has one.")
    .option("--stderr", "its error output instead")
    .option("--job", "the argument is a job: one of its allocations is taken")
    .option("--task <name>", "the task, in place of the second argument")
    .option("--verbose", "taken for scripts; changes nothing")
    .action((id: string, task: string | undefined, _flags: unknown, self: Command) =>
      logs(openSession(self), id, task, self.opts()),
    );
  withExamples(
    withApiFlags(withTailFlags(command)),
    ["drover alloc logs 1b2cb536", "all that the allocation's task printed"],
    ["drover alloc logs -f -job web", "follow an allocation of job web"],
    ["drover alloc logs -stderr -tail -n 50 1b2cb536 server", "the last 50 lines of task server's errors"],
  );
}

async function logs(session: Session, id: string, named: string | undefined, flags: LogFlags): Promise<void> {
  const { client, io } = session;
  const allocation =
    flags.job === true ? await allocationOfJob(session, id) : await findAllocation(session, id);
  const task = named ?? flags.task ?? (await onlyTask(session, allocation.ID));
  const path = `/v1/client/fs/logs/${allocation.ID}`;
  const query = { task, type: flags.stderr === true ? "stderr" : "stdout" };
  const tail = tailOf(flags);
  await attempt("Error reading logs", copy());

  async function copy(): Promise<void> {
    if (flags.f !== true && tail === undefined) {
      for await (const bytes of client.stream(path, { ...query, plain: true })) await io.write(bytes);
      return;
    }
    const from = tail === undefined ? {} : { origin: "end", offset: tail.bytes };
    const frames = jsonFrames(
      client.stream(path, { ...query, ...from, follow: flags.f === true }, io.signal),
    );
    await lastLines(frames, tail, (bytes) => io.write(bytes));
  }
}

/** Throws ExitError 1 with the tasks to choose from where there are several. */
async function onlyTask({ client }: Session, id: string): Promise<string> {
  const answer = client.get<Allocation>(`/v1/allocation/${id}`);
  const { value } = await attempt("Error querying allocation", answer);
  const tasks = Object.keys(value.AllocatedResources.Tasks).sort();
  if (tasks.length === 1) return tasks[0]!;
  const list = tasks.map((task) => `  * ${task}`).join("\n");
  throw new ExitError(
    1,
    `Allocation "${id.slice(0, 8)}" is running the following tasks:\n${list}\n\nPlease specify the task.`,
  );
}
