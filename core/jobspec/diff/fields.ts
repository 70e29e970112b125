/** Differences of scalars: everything is compared and shown as text, as `job plan` prints it. */
import { DiffType, type FieldDiff } from "@drover/plugin-sdk";

/** Fields of a block by name, as text. */
export type Fields = ReadonlyMap<string, string>;

/**
 * The named fields as text: numbers and durations (nanoseconds) in digits, null as "", entries of a map as
 * `Meta[owner]`, elements of a list as `Args[0]`.
 */
export function fieldsOf<T extends object>(value: T, names: readonly (keyof T & string)[]): Fields {
  const fields = new Map<string, string>();
  for (const name of names) {
    const field = value[name] as unknown;
    if (field === null || field === undefined) fields.set(name, "");
    else flatten(name, field, fields);
  }
  return fields;
}

/** All fields of a value that has no fixed shape (a driver's `config`), however deep: `port_map[0][db]`. */
export function anyFieldsOf(value: Readonly<Record<string, unknown>>): Fields {
  const fields = new Map<string, string>();
  for (const [name, field] of Object.entries(value)) flatten(name, field, fields);
  return fields;
}

function flatten(name: string, value: unknown, into: Map<string, string>): void {
  if (Array.isArray(value)) {
    for (const [at, item] of value.entries()) flatten(`${name}[${at}]`, item, into);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) flatten(`${name}[${key}]`, item, into);
  } else {
    into.set(name, value === null || value === undefined ? "" : String(value));
  }
}

/** Sorted by name. Without `context` the equal ones are left out. A missing field is like an empty one. */
export function fieldDiffs(before: Fields | null, after: Fields | null, context: boolean): FieldDiff[] {
  const names = new Set([...(before?.keys() ?? []), ...(after?.keys() ?? [])]);
  const diffs: FieldDiff[] = [];
  for (const name of names) {
    const diff = fieldDiff(name, before?.get(name) ?? "", after?.get(name) ?? "");
    if (context || diff.Type !== DiffType.None) diffs.push(diff);
  }
  return diffs.sort(compareFields);
}

export function fieldDiff(name: string, before: string, after: string): FieldDiff {
  return { Annotations: null, Name: name, New: after, Old: before, Type: typeOf(before, after) };
}

function typeOf(before: string, after: string): DiffType {
  if (before === after) return DiffType.None;
  if (before === "") return DiffType.Added;
  return after === "" ? DiffType.Deleted : DiffType.Edited;
}

export function compareFields(a: FieldDiff, b: FieldDiff): number {
  return compareText(a.Name, b.Name) || compareText(a.Old, b.Old) || compareText(a.New, b.New);
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
