/** Shapes of request bodies, checked before a handler sees them. Deeper rules are the handlers' own. */

import type { AgentMethods, AgentStreams, ServerMethods } from "@drover/plugin-sdk";
import { RemoteError } from "@drover/plugin-sdk";
import { z } from "zod";

const text = z.string().max(4_096);
const allocId = z.string().min(1).max(64);
const task = z.string().max(256).optional();
const index = z.number().int().nonnegative();
const row = z.record(z.string(), z.unknown());

export const serverMethods: Record<keyof ServerMethods, z.ZodType> = {
  "node.register": z.object({ node: row }),
  "node.heartbeat": z.object({ status: z.literal("ready") }),
  "assignment.pull": z.object({ known: z.record(z.string().max(64), index) }),
  "allocation.update": z.object({ updates: z.array(row).max(100_000) }),
};

export const agentMethods: Record<keyof AgentMethods, z.ZodType> = {
  "assignment.changed": z.object({
    index,
    upserts: z.array(row).max(100_000),
    removed: z.array(allocId).max(100_000),
  }),
  "fs.list": z.object({ allocId, path: text }),
  "fs.stat": z.object({ allocId, path: text }),
  "allocation.stats": z.object({ allocId, task }),
  "allocation.restart": z.object({ allocId, task }),
  "allocation.signal": z.object({ allocId, task, signal: z.string().max(64) }),
  "node.stats": z.object({}),
};

export const agentStreams: Record<keyof AgentStreams, z.ZodType> = {
  "fs.read": z.object({ allocId, path: text, offset: index, limit: z.number().int() }),
  "fs.logs": z.object({
    allocId,
    task: z.string().max(256),
    type: z.enum(["stdout", "stderr"]),
    follow: z.boolean(),
    origin: z.enum(["start", "end"]),
    offset: index,
  }),
};

/** The method's name and its body as sent (unknown keys of a newer peer included); throws a `RemoteError`. */
export function checkRequest<Name extends string>(
  table: Record<Name, z.ZodType>,
  method: string,
  body: object,
): Name {
  if (!Object.hasOwn(table, method)) {
    throw new RemoteError(
      "unknown_method",
      `method "${method}" is unknown here: the peers run different versions`,
    );
  }
  const parsed = table[method as Name].safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RemoteError(
      "bad_request",
      `${method}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
    );
  }
  return method as Name;
}
