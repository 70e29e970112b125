/** `operator snapshot`: the whole state of the servers in a file, and back. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Command } from "commander";
import { ArchiveError, type ArchiveMeta, readArchive } from "../../state/archive/index.js";
import { ExitError } from "../exit.js";
import { binarySize, columns, keyValues, printJson } from "../format.js";
import { ioOf } from "../io.js";
import { ArchiveFile } from "./archive-file.js";
import { attempt, messageOf, openSession, type Session, withApiFlags, withExamples } from "./session.js";

const PATH = "/v1/operator/snapshot";
const CHUNK = 256 * 1024;
/** Milliseconds between two words about how far it is. */
const PROGRESS_EVERY = 200;

export function defineSnapshot(operator: Command): void {
  const snapshot = operator
    .command("snapshot")
    .summary("save, look at and restore the state of the servers")
    .description(
      "A snapshot is the whole state of the servers in one checksummed file: jobs, nodes, allocations, evaluations,\n" +
        "deployments, settings, keys of nodes and hashes of join tokens. Keep it as you keep secrets: jobs are in it with all\n" +
        "that was written into them.",
    );
  const save = snapshot
    .command("save [file]")
    .summary("write the state to a file")
    .description(
      "Writes the state of the servers to a file that only you can read, checks it, and names it. Without a name it is\n" +
        "nomad-state-<time>.snap in this folder. A file that is there already is left alone.",
    )
    .option("--stale", "of the server at hand, also while none leads; the newest changes may be missing")
    .action((file: string | undefined, _flags: unknown, self: Command) =>
      saveSnapshot(openSession(self), file, self.opts()),
    );
  withExamples(
    withApiFlags(save),
    ["drover operator snapshot save backup.snap", "the leader's state"],
    [
      "drover operator snapshot save -stale",
      "what the server at hand has, when the cluster has lost its quorum",
    ],
  );

  const restore = snapshot
    .command("restore <file>")
    .summary("put a saved state in force")
    .description(
      "Puts the state of a file in the place of the cluster's, on all servers. All that changed since it was saved is gone:\n" +
        "nodes are told to run what it says and to stop what it does not know, and nodes that enrolled since must enrol anew.\n" +
        "The servers check the whole file before they change anything. Save the present state first.",
    )
    .action((file: string, _flags: unknown, self: Command) => restoreSnapshot(openSession(self), file));
  withExamples(withApiFlags(restore), [
    "drover operator snapshot restore backup.snap",
    "into this cluster, or into a fresh one of the same region",
  ]);

  const inspect = snapshot
    .command("inspect <file>")
    .summary("what is in a file")
    .description("Checks a snapshot file and shows what it holds. No server is asked.")
    .option("--json", "as JSON")
    .action((file: string, flags: { readonly json?: boolean }, self: Command) =>
      inspectSnapshot(ioOf(self), file, flags.json === true),
    );
  withExamples(inspect, ["drover operator snapshot inspect backup.snap", "whose state it is, and of when"]);
}

async function saveSnapshot(
  { client, io }: Session,
  named: string | undefined,
  flags: { readonly stale?: boolean },
): Promise<void> {
  const path = named ?? `nomad-state-${timestamp(io.now())}.snap`;
  const file = await attempt("Error saving snapshot", ArchiveFile.create(path));
  try {
    io.progress("the server writes the snapshot …");
    const query = flags.stale === true ? { stale: true } : {};
    const { bytes, size, digest } = await attempt(
      "Error saving snapshot",
      client.download(PATH, query, io.signal),
    );
    const progress = progressOf(io, size, "saved", "all is here");
    await attempt("Error saving snapshot", file.write(progress(bytes), digest));
    io.progress("checking it …");
    const meta = await attempt("Error verifying snapshot", checked(file.unfinished));
    await attempt("Error saving snapshot", file.finish());
    io.progress("");
    io.out(`State file written to ${path}`);
    io.out(`It holds the state of region "${meta.Region}" at index ${meta.Index}.`);
  } finally {
    io.progress("");
    await file.close();
  }
}

/** As Nomad names the files, in UTC. */
function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
}

async function restoreSnapshot({ client, io }: Session, path: string): Promise<void> {
  // A file that is damaged here need not travel.
  io.progress("checking the file …");
  const meta = await readable(path).finally(() => io.progress(""));
  const { size } = await attempt("Error opening snapshot file", stat(path));
  const progress = progressOf(io, size, "sent", "the servers check the snapshot and put it in force …");
  const source = progress(createReadStream(path, { highWaterMark: CHUNK }));
  try {
    const index = await attempt("Error restoring snapshot", client.upload(PATH, source, io.signal));
    io.progress("");
    io.out("Snapshot Restored");
    io.out(`The state of index ${meta.Index}, saved ${meta.Created}, is in force at index ${index}.`);
  } finally {
    io.progress("");
  }
}

async function inspectSnapshot(io: Session["io"], path: string, json: boolean): Promise<void> {
  const meta = await readable(path);
  const { size } = await attempt("Error opening snapshot file", stat(path));
  io.out(json ? printJson({ ...meta, Size: size }) : inspectText(meta, size));
}

function inspectText(meta: ArchiveMeta, size: number): string {
  const facts = keyValues([
    ["Created", meta.Created],
    ["ID", meta.ID],
    ["Size", binarySize(size)],
    ["Index", String(meta.Index)],
    ["Term", String(meta.Term)],
    ["Version", String(meta.Version)],
    ["Region", meta.Region],
    ["Drover", meta.Drover],
    ["Servers", String(meta.Servers.length)],
  ]);
  const tables = meta.Tables.filter(({ Rows }) => Rows > 0).toSorted((a, b) => b.Bytes - a.Bytes);
  const sum = (of: "Rows" | "Bytes"): number => tables.reduce((total, table) => total + table[of], 0);
  const rows = columns([
    ["Type", "Count", "Size"],
    ...tables.map(({ Name, Rows, Bytes }) => [Name, String(Rows), binarySize(Bytes)]),
    ["Total", String(sum("Rows")), binarySize(sum("Bytes"))],
  ]);
  return `${facts}\n\n${rows}`;
}

/** Throws ExitError 1 for a file that is no whole snapshot. */
async function readable(path: string): Promise<ArchiveMeta> {
  try {
    return await checked(path);
  } catch (error) {
    const what =
      error instanceof ArchiveError ? `Error verifying snapshot ${path}` : "Error opening snapshot file";
    throw new ExitError(1, `${what}: ${messageOf(error)}`, { cause: error });
  }
}

function checked(path: string): Promise<ArchiveMeta> {
  return readArchive(createReadStream(path, { highWaterMark: CHUNK }), () => undefined);
}

/** Passes bytes on and tells how many were `done`, and at the end what comes after. */
function progressOf(
  io: Session["io"],
  total: number | undefined,
  done: string,
  after: string,
): (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
  return async function* (bytes) {
    let count = 0;
    let told = Number.NEGATIVE_INFINITY;
    for await (const chunk of bytes) {
      count += chunk.length;
      yield chunk;
      if (performance.now() - told < PROGRESS_EVERY) continue;
      told = performance.now();
      io.progress(`${binarySize(count)}${total === undefined ? "" : ` of ${binarySize(total)}`} ${done}`);
    }
    io.progress(after);
  };
}
