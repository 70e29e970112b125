/** The account that a task runs as. */
import { readFile } from "node:fs/promises";

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Ids of `user` in the passwd file; undefined for the agent's own account. Rejects where there is no such user or the
 * agent may not become it. Supplementary groups are dropped.
 */
export async function lookUpUser(user: string, passwd = "/etc/passwd"): Promise<Account | undefined> {
  if (user === "") return undefined;
  const lines = (await readFile(passwd, "utf8")).split("\n").map((line) => line.split(":"));
  const entry = lines.find((fields) => fields[0] === user && fields.length >= 4);
  if (entry === undefined) throw new Error(`user "${user}" of the task is unknown on this node (${passwd})`);
  const account = { uid: Number(entry[2]), gid: Number(entry[3]) };
  const own = process.getuid?.();
  if (own === account.uid) return undefined;
  if (own !== 0) {
    throw new Error(`the task can't run as user "${user}": the agent is not root but uid ${own}`);
  }
  return account;
}
