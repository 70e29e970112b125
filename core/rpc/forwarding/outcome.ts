/**
 * Arguments and outcomes of calls between servers, as MessagePack. An outcome is an answer or an error of a kind that callers
 * tell apart, so that a call has the same end whichever server it was made on.
 */
import { EndpointError, NotLeaderError, type Peer, RemoteError } from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import { z } from "zod";

const packer = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

const Leader = z.object({ id: z.string(), address: z.string(), voter: z.boolean(), leader: z.boolean() });
const Failure = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("endpoint"), status: z.int(), message: z.string() }),
  z.object({ kind: z.literal("not_leader"), leader: Leader.nullable() }),
  z.object({ kind: z.literal("agent"), code: z.string(), message: z.string() }),
  z.object({ kind: z.literal("other"), code: z.string(), message: z.string() }),
]);
type Failure = z.output<typeof Failure>;
const Outcome = z.union([z.tuple([z.literal(0), z.unknown()]), z.tuple([z.literal(1), Failure])]);

export function pack(value: unknown): Uint8Array {
  return new Uint8Array(packer.encode(value));
}

/** Throws an Error that names `what` for bytes that are no MessagePack or of another shape. */
export function unpack<T>(what: string, schema: z.ZodType<T>, packed: Uint8Array): T {
  let value: unknown;
  try {
    value = packer.decode(packed as Buffer);
  } catch (error) {
    throw new Error(`${what} is not readable as MessagePack`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Error(
    `${what} has another shape (${issue?.path.join(".") || "root"}: ${issue?.message ?? ""}): do the servers run different versions?`,
  );
}

/** Runs `work` and packs how it ended; never rejects. */
export async function outcomeOf(work: () => Promise<unknown>): Promise<Uint8Array> {
  try {
    return pack([0, await work()]);
  } catch (error) {
    return pack([1, failureOf(error)]);
  }
}

/** The answer; throws what the other server's work threw. */
export function settle(what: string, packed: Uint8Array): unknown {
  const outcome = unpack(what, Outcome, packed);
  if (outcome[0] === 0) return outcome[1];
  throw errorOf(outcome[1]);
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { kind: "other", code: "", message: String(error) };
  const { message } = error;
  if (error instanceof EndpointError) return { kind: "endpoint", status: error.status, message };
  if (error instanceof RemoteError) return { kind: "agent", code: error.code, message };
  if (error instanceof NotLeaderError) return { kind: "not_leader", leader: leaderOf(error.leader) };
  return { kind: "other", code: String((error as NodeJS.ErrnoException).code ?? ""), message };
}

function leaderOf(leader: Peer | undefined): Peer | null {
  if (leader === undefined) return null;
  const { id, address, voter } = leader;
  return { id, address, voter, leader: true };
}

function errorOf(failure: Failure): Error {
  switch (failure.kind) {
    case "endpoint":
      return new EndpointError(failure.status, failure.message);
    case "agent":
      return new RemoteError(failure.code, failure.message);
    case "not_leader":
      return new NotLeaderError(failure.leader ?? undefined);
    case "other":
      return Object.assign(new Error(failure.message), failure.code === "" ? {} : { code: failure.code });
  }
}
