/** What servers tell each other about servers. */
import type { AgentMember } from "@drover/plugin-sdk";
import { EndpointError } from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import { z } from "zod";
import { joinHostPort } from "../../config/addresses.js";

/** Version of the bodies below; one of another version is refused. */
export const MEMBERS_PROTOCOL = 1;
/** Servers that one list holds, over all regions. */
export const MAX_MEMBERS = 2_000;

const name = z.string().min(1).max(300);
const tag = z.string().max(512);
const address = z.string().min(1).max(300);
const counter = z
  .number()
  .int()
  .min(0)
  .max(2 ** 52);

const recordSchema = z.object({
  /** `<node>.<region>`. */
  name,
  addr: z.string().max(300),
  /** Gossip port that the server advertises, as the API shows it. */
  port: z.number().int().min(0).max(65_535),
  tags: z
    .record(z.string().max(64), tag)
    .refine((tags) => Object.keys(tags).length <= 64, "more than 64 tags")
    .refine(({ id, region }) => !!id && !!region, "the tags id and region must be there")
    .refine(({ port }) => Number(port) >= 1 && Number(port) <= 65_535, "the tag port is no port"),
  /** Counts what the server said of itself; the higher is the newer. */
  incarnation: counter,
  status: z.enum(["alive", "failed", "left"]),
  /** Milliseconds for which it has had that status, by the clock of who tells. */
  age: z.number().min(0),
});
export type MemberRecord = z.output<typeof recordSchema>;

export const exchangeSchema = z.object({
  version: z.number(),
  /** Who speaks. */
  from: recordSchema,
  others: z.array(recordSchema).max(MAX_MEMBERS),
});
/** Both the request and the answer of `Members.Exchange`. */
export type Exchange = z.output<typeof exchangeSchema>;

export const probeSchema = z.object({
  version: z.number(),
  name,
  id: z.string().max(128),
  /** `host:port` of who speaks. */
  rpc: address,
  /** Of everything that it knows; see `MemberTable.digest`. */
  digest: z.number(),
});
/** Both the request and the answer of `Members.Probe`. */
export type Probe = z.output<typeof probeSchema>;

const packer = new Packr({ useRecords: false, mapsAsObjects: true });

export function encodeBody(body: object): Uint8Array {
  return new Uint8Array(packer.encode(body));
}

/** Reads a body; throws `EndpointError` (400) naming what is wrong with it, and `method` for whoever reads the log. */
export function decodeBody<Schema extends z.ZodType>(
  schema: Schema,
  body: Uint8Array,
  method: string,
): z.output<Schema> {
  const value = unpack(body);
  if (typeof value !== "object" || value === null)
    throw new EndpointError(400, `${method}: the body is not readable as MessagePack`);
  const { version } = value as { version?: unknown };
  if (version !== MEMBERS_PROTOCOL) {
    throw new EndpointError(
      400,
      `${method}: the other server speaks version ${String(version)} of the members' protocol, this one version ${MEMBERS_PROTOCOL}: run versions of Drover that understand each other`,
    );
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new EndpointError(400, `${method}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}

function unpack(body: Uint8Array): unknown {
  try {
    return packer.decode(body as Buffer);
  } catch {
    // Said by the caller, who knows what was to be read.
    return undefined;
  }
}

/** The shape of the API. Protocol numbers are those of the Serf that Nomad 1.1 carries: tools show them. */
export function toAgentMember(
  record: Pick<MemberRecord, "name" | "addr" | "port" | "tags"> & { readonly status: string },
): AgentMember {
  return {
    Name: record.name,
    Addr: record.addr,
    Port: record.port,
    Status: record.status,
    ProtocolMin: 1,
    ProtocolMax: 5,
    ProtocolCur: 2,
    DelegateMin: 2,
    DelegateMax: 5,
    DelegateCur: 4,
    Tags: { ...record.tags },
  };
}

/** `host:port` of the RPC listener of a record's server. */
export function recordAddress({ addr, tags }: Pick<MemberRecord, "addr" | "tags">): string {
  return joinHostPort(tags.rpc_addr || addr, Number(tags.port));
}
