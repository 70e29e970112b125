import type { z } from "zod";
import { nearestName } from "../jobspec/hcl/error.js";

export interface Problem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** A schema without what wraps it: optional, defaults, transformations. */
export function coreSchema(schema: z.ZodType): z.ZodType {
  let inner = schema;
  for (;;) {
    const def = inner.def as { type: string; innerType?: z.ZodType; in?: z.ZodType; out?: z.ZodType };
    if (def.type === "pipe") {
      // Of a preprocessed schema the out side says what is wanted; of a transformed one the in side.
      inner = def.in?.def.type === "transform" ? def.out! : def.in!;
    } else if (def.innerType !== undefined) inner = def.innerType;
    else return inner;
  }
}

/** Schema of a key (or element) of a composite schema, or undefined where it has none. */
export function childSchema(schema: z.ZodType, key: string | number): z.ZodType | undefined {
  const def = coreSchema(schema).def as {
    type: string;
    shape?: Record<string, z.ZodType>;
    valueType?: z.ZodType;
    element?: z.ZodType;
  };
  if (def.type === "object") return Object.hasOwn(def.shape!, key) ? def.shape![key] : undefined;
  return def.type === "record" ? def.valueType : def.type === "array" ? def.element : undefined;
}

/** Zod's issues as sentences, one a key; an unknown key comes with the nearest known one. */
export function problemsOf(schema: z.ZodType, issues: readonly z.core.$ZodIssue[]): Problem[] {
  return issues.flatMap((issue): Problem[] => {
    const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
    if (issue.code !== "unrecognized_keys") {
      return [{ path, message: issue.message.replace(/^Invalid input: /, "") }];
    }
    const known = knownKeys(schema, path);
    return issue.keys.map((key) => ({
      path: [...path, key],
      message: `unknown key${suggestion(key, known)}`,
    }));
  });
}

function knownKeys(schema: z.ZodType, path: readonly (string | number)[]): string[] {
  let at: z.ZodType | undefined = schema;
  for (const step of path) at = at === undefined ? undefined : childSchema(at, step);
  if (at === undefined) return [];
  const { shape } = coreSchema(at).def as { shape?: Record<string, z.ZodType> };
  return Object.keys(shape ?? {});
}

function suggestion(key: string, known: readonly string[]): string {
  const near = nearestName(key, known);
  if (near !== undefined) return `; did you mean "${near}"?`;
  if (known.length === 0) return "; none is taken here";
  return known.length <= 12 ? `; known are ${[...known].sort().join(", ")}` : "";
}
