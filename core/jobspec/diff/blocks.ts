/** Differences of blocks, from a description of what is in them. */
import { DiffType, type FieldDiff, type ObjectDiff } from "@drover/plugin-sdk";
import {
  anyFieldsOf,
  compareFields,
  compareText,
  type Fields,
  fieldDiff,
  fieldDiffs,
  fieldsOf,
} from "./fields.js";

/** Differences of one kind of inner block; `context` asks for what is unchanged around a change too. */
export type Part<T> = (before: T | null, after: T | null, context: boolean) => ObjectDiff[];

/** What is compared of a block. Fields and parts that aren't named don't count. */
export interface Shape<T extends object> {
  /** Scalars, maps and ordered lists. */
  readonly fields: readonly (keyof T & string)[];
  /** Scalars that are shown only where they changed: Nomad doesn't list them. */
  readonly quiet?: readonly (keyof T & string)[];
  readonly parts?: readonly Part<T>[];
}

/** What changed in a block. */
export interface Changes {
  readonly fields: FieldDiff[];
  readonly objects: ObjectDiff[];
  readonly type: DiffType;
}

export function changesOf<T extends object>(
  shape: Shape<T>,
  before: T | null,
  after: T | null,
  context: { readonly fields: boolean; readonly parts: boolean },
): Changes {
  const read = (value: T | null, names: readonly (keyof T & string)[]): Fields | null =>
    value === null ? null : fieldsOf(value, names);
  const fields = fieldDiffs(read(before, shape.fields), read(after, shape.fields), context.fields);
  if (shape.quiet !== undefined && before !== null && after !== null) {
    fields.push(...fieldDiffs(fieldsOf(before, shape.quiet), fieldsOf(after, shape.quiet), false));
    fields.sort(compareFields);
  }
  const objects = (shape.parts ?? []).flatMap((part) => part(before, after, context.parts));
  return { fields, objects, type: wholeType(before, after, [...fields, ...objects]) };
}

/** Type of a whole by its parts; what is on one side alone was added or deleted whatever is in it. */
export function wholeType(
  before: unknown,
  after: unknown,
  parts: readonly { readonly Type: DiffType }[],
): DiffType {
  if (before === null) return after === null ? DiffType.None : DiffType.Added;
  if (after === null) return DiffType.Deleted;
  return parts.some((part) => part.Type !== DiffType.None) ? DiffType.Edited : DiffType.None;
}

/** Nomad shows a list without entries as null. */
export function orNull<T>(list: T[]): T[] | null {
  return list.length === 0 ? null : list;
}

function objectDiff<T extends object>(
  name: string,
  shape: Shape<T>,
  before: T | null,
  after: T | null,
  context: boolean,
): ObjectDiff[] {
  const { fields, objects, type } = changesOf(shape, before, after, { fields: context, parts: context });
  if (type === DiffType.None) return [];
  return [{ Fields: orNull(fields), Name: name, Objects: orNull(objects), Type: type }];
}

/** A block that is there once or not at all. */
export function block<T, B extends object>(
  name: string,
  read: (value: T) => B | null | undefined,
  shape: Shape<B>,
): Part<T> {
  const of = (value: T | null): B | null => (value === null ? null : (read(value) ?? null));
  return (before, after, context) => objectDiff(name, shape, of(before), of(after), context);
}

/** A block without a fixed shape: every value in it is a field. */
export function openBlock<T>(
  name: string,
  read: (value: T) => Readonly<Record<string, unknown>> | null | undefined,
): Part<T> {
  const of = (value: T | null): Fields | null => {
    const found = value === null ? null : (read(value) ?? null);
    const fields = found === null ? null : anyFieldsOf(found);
    return fields === null || fields.size === 0 ? null : fields;
  };
  return (before, after, context) => {
    const [old, now] = [of(before), of(after)];
    const fields = fieldDiffs(old, now, context);
    const type = wholeType(old, now, fields);
    return type === DiffType.None ? [] : [{ Fields: fields, Name: name, Objects: null, Type: type }];
  };
}

/** A list of texts whose order does not matter; each is a field of the list's name. */
export function textSet<T>(name: string, read: (value: T) => readonly string[] | null | undefined): Part<T> {
  const of = (value: T | null): Set<string> => new Set(value === null ? [] : (read(value) ?? []));
  return (before, after, context) => {
    const [old, now] = [of(before), of(after)];
    const added = [...now].filter((text) => !old.has(text));
    const deleted = [...old].filter((text) => !now.has(text));
    if (added.length === 0 && deleted.length === 0) return [];
    const kept = context ? [...old].filter((text) => now.has(text)) : [];
    const fields = [
      ...added.map((text) => fieldDiff(name, "", text)),
      ...deleted.map((text) => fieldDiff(name, text, "")),
      ...kept.map((text) => fieldDiff(name, text, text)),
    ];
    const type =
      deleted.length === 0 ? DiffType.Added : added.length === 0 ? DiffType.Deleted : DiffType.Edited;
    return [{ Fields: fields.sort(compareFields), Name: name, Objects: null, Type: type }];
  };
}

/** Blocks that have no identity: one that changed is one deleted and one added. */
export function blockSet<T, B extends object>(
  name: string,
  read: (value: T) => readonly B[] | null | undefined,
  shape: Shape<B>,
): Part<T> {
  const whole = { fields: true, parts: true };
  const of = (value: T | null): Map<string, B[]> => {
    const byContent = new Map<string, B[]>();
    for (const item of value === null ? [] : (read(value) ?? [])) {
      const content = JSON.stringify(changesOf(shape, null, item, whole));
      const same = byContent.get(content);
      if (same === undefined) byContent.set(content, [item]);
      else same.push(item);
    }
    return byContent;
  };
  const missing = (from: Map<string, B[]>, other: Map<string, B[]>): B[] =>
    [...from].flatMap(([content, items]) => items.slice(other.get(content)?.length ?? 0));
  return (before, after, context) => {
    const [old, now] = [of(before), of(after)];
    return [
      ...missing(old, now).flatMap((item) => objectDiff(name, shape, item, null, context)),
      ...missing(now, old).flatMap((item) => objectDiff(name, shape, null, item, context)),
    ].sort(compareObjects);
  };
}

/** Blocks told apart by a key; the second of the same key is another one. Sorted by key. */
export function keyedBlocks<T, B extends object>(
  name: string,
  read: (value: T) => readonly B[] | null | undefined,
  key: (item: B, at: number) => string,
  shape: Shape<B>,
): Part<T> {
  const of = (value: T | null): Map<string, B> => {
    const seen = new Map<string, number>();
    const byKey = new Map<string, B>();
    for (const [at, item] of (value === null ? [] : (read(value) ?? [])).entries()) {
      const own = key(item, at);
      const nth = seen.get(own) ?? 0;
      seen.set(own, nth + 1);
      byKey.set(`${own}\0${nth}`, item);
    }
    return byKey;
  };
  return (before, after, context) => {
    const [old, now] = [of(before), of(after)];
    return [...new Set([...old.keys(), ...now.keys()])]
      .sort(compareText)
      .flatMap((own) => objectDiff(name, shape, old.get(own) ?? null, now.get(own) ?? null, context));
  };
}

/** A part that is left out where the whole was added or deleted: Nomad 1.1 doesn't list it there. */
export function inEditsOnly<T>(part: Part<T>): Part<T> {
  return (before, after, context) => (before === null || after === null ? [] : part(before, after, context));
}

function compareObjects(a: ObjectDiff, b: ObjectDiff): number {
  return compareText(a.Name, b.Name) || compareLists(a.Fields, b.Fields) || compareText(a.Type, b.Type);
}

function compareLists(a: readonly FieldDiff[] | null, b: readonly FieldDiff[] | null): number {
  const [left, right] = [a ?? [], b ?? []];
  for (const [at, field] of left.entries()) {
    const other = right[at];
    if (other === undefined) return 1;
    const order = compareFields(field, other);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
