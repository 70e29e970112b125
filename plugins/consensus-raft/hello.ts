/** What two servers tell each other before the first raft message, and when they will not speak. */
import { type RpcCaller, RpcError } from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import { MESSAGE_VERSION } from "./message-codec.js";

const packr = new Packr({ useRecords: false });
const TEXT_FIELDS = ["region", "id", "address", "incarnation", "to"] as const;

/** First bytes of a stream, from the server that opens it. */
export interface Hello {
  readonly version: number;
  /** Null while the server belongs to no cluster. */
  readonly cluster: string | null;
  readonly region: string;
  readonly id: string;
  /** Address that the server wants to be reached at. */
  readonly address: string;
  /** Made anew with each start, so that a restarted server is told from a second one under the same id. */
  readonly incarnation: string;
  /** Id of the server that it means to speak with. */
  readonly to: string;
}

export function encodeHello(hello: Hello): Buffer {
  return packr.pack(hello);
}

/** Throws a refusal for anything that is no hello. */
export function decodeHello(body: Uint8Array): Hello {
  let value: Partial<Record<keyof Hello, unknown>> | null;
  try {
    value = packr.unpack(body) as typeof value;
  } catch (error) {
    throw refusal(`the greeting can't be read: ${(error as Error).message}`);
  }
  const { version, cluster } = value ?? {};
  // The version is read first: a later one may greet with other fields.
  if (version !== MESSAGE_VERSION) {
    throw refusal(
      `its raft messages are of version ${String(version)}, and of version ${MESSAGE_VERSION} here; run versions of Drover that speak with each other`,
    );
  }
  for (const field of TEXT_FIELDS) {
    if (typeof value?.[field] !== "string") throw refusal(`the greeting has no ${field}`);
  }
  if (cluster !== null && typeof cluster !== "string") throw refusal("the greeting has no cluster");
  return value as Hello;
}

/** Throws a refusal that names both sides where they must not exchange raft messages. */
export function checkHello(
  hello: Hello,
  self: { readonly id: string; readonly region: string; readonly cluster: string | null },
  caller: Pick<RpcCaller, "identity">,
): void {
  const who = `server ${hello.id} at ${hello.address}`;
  if (hello.region !== self.region) {
    throw refusal(`${who} is of region "${hello.region}", and this server of "${self.region}"`);
  }
  const { identity } = caller;
  if (identity !== undefined && (identity.role !== "server" || identity.region !== self.region)) {
    throw refusal(
      `${who} showed a certificate of a ${identity.role} of region "${identity.region}"; raft is for servers of region "${self.region}"`,
    );
  }
  if (hello.id === self.id) {
    throw refusal(
      `${who} has the id of this server; one of the two runs on a copy of the other's data_dir: remove its server/node-id and server/raft`,
    );
  }
  if (hello.to !== self.id) {
    throw refusal(`${who} looks for server ${hello.to} here, and this is server ${self.id}`);
  }
  if (hello.cluster !== null && self.cluster !== null && hello.cluster !== self.cluster) {
    throw refusal(
      `${who} belongs to cluster ${hello.cluster}, and server ${self.id} to ${self.cluster}; a server changes cluster with an empty data_dir only`,
    );
  }
}

export function refusal(text: string): RpcError {
  return new RpcError("ERR_RPC_REFUSED", text);
}
