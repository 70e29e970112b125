/** `alloc fs`: files of an allocation. */
import type { AllocFileInfo } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { binarySize, columns, formatTime } from "../format.js";
import { jsonFrames } from "../json-frames.js";
import { allocationOfJob, findAllocation } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";
import { lastLines, type TailFlags, tailOf, withTailFlags } from "./tail.js";

interface FsFlags extends TailFlags {
  readonly job?: boolean;
  readonly stat?: boolean;
  readonly H?: boolean;
  readonly verbose?: boolean;
}

export function defineFs(alloc: Command): void {
  const command = alloc
    .command("fs <alloc> [path]")
    .summary("files of an allocation")
    .description(
      "Lists a folder of an allocation, or prints a file. Paths begin at the allocation's own folder.",
    )
    .option("--job", "the argument is a job: one of its allocations is taken")
    .option("--stat", "what the file is, not what is in it")
    .option("-H", "sizes and times for machines: bytes and seconds")
    .option("--verbose", "taken for scripts; changes nothing")
    .action((id: string, path: string | undefined, _flags: unknown, self: Command) =>
      fs(openSession(self), id, path ?? "/", self.opts()),
    );
  withExamples(
    withApiFlags(withTailFlags(command)),
    ["drover alloc fs 1b2cb536", "what is in the allocation's folder"],
    ["drover alloc fs 1b2cb536 server/local/info.txt", "print a file"],
    ["drover alloc fs -f -job web alloc/data/out.csv", "follow a file of one of the job's allocations"],
  );
}

async function fs(session: Session, id: string, path: string, flags: FsFlags): Promise<void> {
  const { client, io } = session;
  const allocation =
    flags.job === true ? await allocationOfJob(session, id) : await findAllocation(session, id);
  const at = (call: string) => `/v1/client/fs/${call}/${allocation.ID}`;
  const { value: file } = await attempt(
    "Error reading path",
    client.get<AllocFileInfo>(at("stat"), { path }),
  );
  if (flags.stat === true) {
    io.out(fileTable([file], flags.H === true, true));
    return;
  }
  if (file.IsDir) {
    const { value } = await attempt("Error listing path", client.get<AllocFileInfo[]>(at("ls"), { path }));
    io.out(fileTable(value, flags.H === true, false));
    return;
  }
  const tail = tailOf(flags);
  await attempt("Error reading file", copy());

  async function copy(): Promise<void> {
    if (flags.f !== true && tail === undefined) {
      for await (const bytes of client.stream(at("cat"), { path })) await io.write(bytes);
      return;
    }
    const from = tail === undefined ? {} : { origin: "end", offset: tail.bytes };
    const query = { path, ...from, follow: flags.f === true };
    await lastLines(jsonFrames(client.stream(at("stream"), query, io.signal)), tail, (bytes) =>
      io.write(bytes),
    );
  }
}

function fileTable(files: readonly AllocFileInfo[], machine: boolean, withType: boolean): string {
  return columns([
    ["Mode", "Size", "Modified Time", ...(withType ? ["Content Type"] : []), "Name"],
    ...files.map((file) => [
      file.FileMode,
      machine ? String(file.Size) : binarySize(file.Size),
      machine ? String(Math.floor(Date.parse(file.ModTime) / 1000)) : formatTime(Date.parse(file.ModTime)),
      ...(withType ? [file.ContentType ?? ""] : []),
      file.IsDir ? `${file.Name}/` : file.Name,
    ]),
  ]);
}
