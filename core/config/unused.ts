import type { z } from "zod";
import { isObject } from "./blocks.js";
import { childSchema } from "./problems.js";

interface Marks {
  readonly unused?: boolean;
  readonly protects?: boolean;
}

export interface UnusedKeys {
  /** Keys that are set and change nothing yet, as dotted paths. */
  readonly unused: readonly string[];
  /** Of such keys those that would protect something and are switched on; not among `unused`. */
  readonly unprotected: readonly string[];
}

/** Which of the keys that were set are accepted only for compatibility. */
export function unusedKeys(schema: z.ZodType, value: unknown): UnusedKeys {
  const unused: string[] = [];
  const unprotected: string[] = [];
  const walk = (at: z.ZodType, item: unknown, path: string): void => {
    if (!isObject(item)) return;
    for (const [key, below] of Object.entries(item)) {
      const child = childSchema(at, key);
      if (child === undefined || below === undefined) continue;
      const name = path === "" ? key : `${path}.${key}`;
      const marks = marksOf(child);
      if (marks.unused !== true) walk(child, below, name);
      else {
        (marks.protects === true && isOn(below) ? unprotected : unused).push(name);
      }
    }
  };
  walk(schema, value, "");
  return { unused, unprotected };
}

function marksOf(schema: z.ZodType): Marks {
  const { innerType } = schema.def as { innerType?: z.ZodType };
  return { ...(innerType === undefined ? {} : marksOf(innerType)), ...(schema.meta() as Marks | undefined) };
}

function isOn(value: unknown): boolean {
  return isObject(value) ? value.enabled === true : value !== false && value !== "";
}
