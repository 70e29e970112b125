/** `peers.json`: who makes up the cluster from now on, from the operator of one that lost its majority. */
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import { z } from "zod";
import type { Server } from "./core/types.js";
import { checkServers } from "./membership.js";

const FILE = "peers.json";
const INFO = "peers.info";
const MAX_BYTES = 1024 * 1024;

const Peers = z
  .array(
    z.strictObject({
      id: z.string().min(1),
      address: z.string().min(1),
      non_voter: z.boolean().default(false),
    }),
  )
  .min(1);

const INFO_TEXT = `How to recover a cluster whose majority of servers is lost for good

A cluster can go on without some of its servers as long as more than half of those with a vote are there. Where they are not,
and will not come back, the servers that are left can be told to go on as a smaller cluster. Restore the lost servers instead
if you can: what only they had acknowledged is gone otherwise.

1. Stop every server that is left. See to it that the lost ones do not start again: with their old data they would form the
   old cluster anew. Empty their data_dir before they rejoin.
2. Write a file named peers.json beside this one, the same on every server that is left. It lists all of those servers, and
   only those:

   [
     { "id": "6f3b5a52-8f0c-4b7e-9d3e-0d5a2b8c1f11", "address": "10.0.0.1:4647", "non_voter": false },
     { "id": "a1c0de77-52c4-4b0b-8a9f-3c9e64f0d2b2", "address": "10.0.0.2:4647", "non_voter": false }
   ]

   id         the content of server/node-id in the server's data_dir
   address    host:port that the server is reached at by the others
   non_voter  true for a server that only receives the log; may be left out

3. Start them. Each reads the file once, makes it the configuration of the cluster, and removes it. A server whose file can't be
   read, or does not name the server itself, refuses to start and changes nothing.
`;

/** Puts the explanation beside the place of the file. */
export async function explainPeersFile(folder: string): Promise<void> {
  const path = join(folder, INFO);
  if (!existsSync(path)) await writeFile(path, INFO_TEXT, { mode: 0o600 });
}

/**
 * The servers that `peers.json` in `folder` names; undefined where there is no file. Throws an Error with file, position and key
 * for one that can't be used.
 */
export async function readPeersFile(folder: string, self: string): Promise<Server[] | undefined> {
  const path = join(folder, FILE);
  if (!existsSync(path)) return undefined;
  const text = await readFile(path, "utf8");
  if (text.length > MAX_BYTES)
    throw refused(path, `it has ${text.length} characters, more than ${MAX_BYTES}`);
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { disallowComments: true });
  const [first] = errors;
  if (root === undefined || first !== undefined) {
    const what = first === undefined ? "it is empty" : printParseErrorCode(first.error);
    throw refused(path, `it is not valid JSON: ${what}`, place(text, first?.offset ?? 0));
  }
  const result = Peers.safeParse(getNodeValue(root));
  if (!result.success) {
    const { path: key, message } = result.error.issues[0]!;
    const at = nearest(root, key as (string | number)[]);
    throw refused(path, `${describe(key)}: ${message}`, place(text, at.offset));
  }
  const servers = result.data.map(
    ({ id, address, non_voter }): Server => ({ id, address, voter: !non_voter }),
  );
  try {
    checkServers(servers);
  } catch (error) {
    throw refused(path, (error as Error).message);
  }
  if (!servers.some(({ voter }) => voter))
    throw refused(path, "non_voter is true for every server; one must have a vote");
  if (!servers.some(({ id }) => id === self)) {
    throw refused(path, `it does not name this server, ${self}`);
  }
  return servers;
}

export function removePeersFile(folder: string): Promise<void> {
  return rm(join(folder, FILE));
}

function refused(path: string, what: string, where?: string): Error {
  const at = where === undefined ? "" : `, ${where}`;
  return new Error(
    `${path}${at}: ${what}. The server does not start with it; correct it as ${INFO} beside it says, or remove it`,
  );
}

function describe(key: readonly PropertyKey[]): string {
  const [position, ...rest] = key;
  if (position === undefined) return "the list of servers";
  return [`server ${Number(position) + 1}`, ...rest.map((part) => `"${String(part)}"`)].join(", ");
}

/** The node that a path leads to, or the last one on the way that is there. */
function nearest(root: Node, key: readonly (string | number)[]): Node {
  for (let length = key.length; length > 0; length--) {
    const found = findNodeAtLocation(root, key.slice(0, length));
    if (found !== undefined) return found;
  }
  return root;
}

function place(text: string, offset: number): string {
  const before = text.slice(0, offset).split("\n");
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}
