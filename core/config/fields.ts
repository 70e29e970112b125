import { z } from "zod";
import { parseDuration } from "../jobspec/duration.js";

/**
 * Values as operators write them: HCL files quote freely (`enabled = "true"`, `port = "4646"`), and Nomad reads that
 * as meant, so these do too.
 */
const asNumber = (value: unknown): unknown =>
  typeof value === "string" && /^[+-]?\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : value;

const asBool = (value: unknown): unknown =>
  value === "true" || value === "1" ? true : value === "false" || value === "0" ? false : value;

const asText = (value: unknown): unknown =>
  typeof value === "number" || typeof value === "boolean" ? String(value) : value;

/** What people call the type of a value. */
function typeOf(value: unknown): string {
  return value === null
    ? "null"
    : Array.isArray(value)
      ? "a list"
      : typeof value === "object"
        ? "a block"
        : `a ${typeof value}`;
}

function wanted(what: string) {
  return { error: (issue: { readonly input?: unknown }) => `must be ${what}, not ${typeOf(issue.input)}` };
}

export const text = z.preprocess(asText, z.string(wanted("a string")));
export const bool = z.preprocess(asBool, z.boolean(wanted("true or false")));
export const number = z.preprocess(asNumber, z.number(wanted("a number")).min(0, "must not be negative"));
export const int = z.preprocess(
  asNumber,
  z.number(wanted("a whole number")).int("must be a whole number").min(0, "must not be negative"),
);
export const port = z.preprocess(
  asNumber,
  z
    .number(wanted("a port number"))
    .int("must be a whole number")
    .min(0, "must be between 0 and 65535")
    .max(65535, "must be between 0 and 65535"),
);

/** A Go duration (`"10s"`, `"1h30m"`) or a number of nanoseconds; gives milliseconds. */
export const duration = z.unknown().transform((value, context): number => {
  const nanoseconds =
    typeof value === "number" ? value : typeof value === "string" ? parseDuration(value) : undefined;
  if (nanoseconds !== undefined && nanoseconds >= 0) return nanoseconds / 1e6;
  const message =
    typeof value === "string"
      ? `"${value}" is not a duration: write for example "30s", "5m" or "1h30m"`
      : nanoseconds === undefined
        ? `must be a duration such as "30s", not ${typeOf(value)}`
        : "must not be negative";
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

export const texts = z.array(text, wanted("a list of strings"));
export const textMap = z.record(z.string(), text, wanted("a block of strings"));

/** One of a few words, in any case; gives it as listed. */
export function word<const Words extends readonly string[]>(words: Words) {
  return z.preprocess(
    (value) =>
      words.find((known) => typeof value === "string" && known.toLowerCase() === value.toLowerCase()) ??
      value,
    z.enum(words, {
      error: (issue) => `must be one of ${words.join(", ")}, not ${JSON.stringify(issue.input)}`,
    }),
  );
}

/** A block all of whose keys may be left out; others are errors. */
export function block<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, wanted("a block")).partial();
}

/** Blocks by their label. */
export function labelled<Schema extends z.ZodType>(schema: Schema) {
  return z.record(z.string(), schema, wanted("labelled blocks"));
}

/** Marks a key of Nomad's that is read and checked but changes nothing yet. */
export function unused<Schema extends z.ZodType>(schema: Schema): Schema {
  return schema.meta({ unused: true });
}

/** Marks such a key that protects something: the operator must know that it does not. */
export function unprotected<Schema extends z.ZodType>(schema: Schema): Schema {
  return schema.meta({ unused: true, protects: true });
}
