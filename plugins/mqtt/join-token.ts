/** Where a node gets its join token from: the operator's file or environment, or the servers of its own process. */
import { readFile } from "node:fs/promises";
import { type JoinTokens, parseJoinToken, RemoteError } from "@drover/plugin-sdk";

/** Milliseconds that a token made for the node of this process is good for. */
const OWN_TOKEN_TTL = 10 * 60_000;

/** Where a node gets its join token from. */
export interface JoinTokenSource {
  /** Whether there is anywhere to look. */
  readonly available: boolean;
  /**
   * The token. Rejects, without the token in its message, for a bad one; with a `RemoteError` `not_ready` where the servers of
   * this process can't make one yet.
   */
  read(): Promise<string>;
}

export interface JoinTokenPlaces {
  /** `join_token_file`. */
  readonly file: string | undefined;
  /** `DROVER_JOIN_TOKEN`. */
  readonly environment: string | undefined;
  /** The servers of this process; `resolve` throws while they have not started. */
  readonly own: { readonly present: boolean; resolve(): JoinTokens };
}

/** Looks in the file, then the environment, then asks the servers of this process. */
export function joinTokenSource({ file, environment, own }: JoinTokenPlaces): JoinTokenSource {
  return {
    available: file !== undefined || environment !== undefined || own.present,
    async read() {
      if (file !== undefined) return checked(await readTokenFile(file), `join_token_file ${file}`);
      if (environment !== undefined) return checked(environment, "DROVER_JOIN_TOKEN");
      try {
        return await own.resolve().issue(OWN_TOKEN_TTL);
      } catch (error) {
        throw new RemoteError("not_ready", (error as Error).message);
      }
    },
  };
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    throw new Error(`can't read join_token_file ${file}: ${(error as Error).message}`);
  }
}

function checked(token: string, where: string): string {
  try {
    parseJoinToken(token);
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`);
  }
  return token;
}
