import type { z } from "zod";
import { childSchema, coreSchema } from "./problems.js";

/**
 * HCL can't tell a block from a list of blocks, so its reader gives lists. This gives a value the form its schema
 * asks for: where an object is wanted, the blocks of a list become one (later keys win, lists of inner blocks join);
 * where a list is wanted, a lone object becomes a list. Anything else stays as it is, for the schema to judge.
 */
export function fitBlocks(schema: z.ZodType, value: unknown): unknown {
  const { type } = coreSchema(schema).def;
  if (type === "object" || type === "record") {
    const object = isBlockList(value) ? joinBlocks(value) : value;
    if (!isObject(object)) return object;
    return Object.fromEntries(
      Object.entries(object).map(([key, item]) => {
        const child = childSchema(schema, key);
        return [key, child === undefined ? item : fitBlocks(child, item)];
      }),
    );
  }
  if (type === "array") {
    const list = isObject(value) ? [value] : value;
    const element = childSchema(schema, 0)!;
    return Array.isArray(list) ? list.map((item) => fitBlocks(element, item)) : list;
  }
  return value;
}

/**
 * The path in the text of a path in what `fitBlocks` made of it: puts in the number of the block that holds the key.
 */
export function pathInText(body: unknown, path: readonly (string | number)[]): (string | number)[] {
  const result: (string | number)[] = [];
  let at = body;
  for (const step of path) {
    if (typeof step === "string" && Array.isArray(at)) {
      const block = at.findLastIndex((item) => isObject(item) && Object.hasOwn(item, step));
      if (block < 0) break;
      result.push(block);
      at = at[block];
    }
    result.push(step);
    at = isObject(at) || Array.isArray(at) ? (at as Record<string | number, unknown>)[step] : undefined;
  }
  return result;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isBlockList(value: unknown): value is Record<string, unknown>[] {
  return Array.isArray(value) && value.length > 0 && value.every(isObject);
}

function joinBlocks(blocks: readonly Record<string, unknown>[]): Record<string, unknown> {
  const joined = new Map<string, unknown>();
  for (const block of blocks) {
    for (const [key, value] of Object.entries(block)) {
      const before = joined.get(key);
      joined.set(key, isBlockList(before) && isBlockList(value) ? [...before, ...value] : value);
    }
  }
  return Object.fromEntries(joined);
}
