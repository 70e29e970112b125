import { FunctionError, type HclFunction } from "../evaluate.js";
import type { HclValue } from "../syntax.js";
import { compareStrings, equalValues, getKey, type HclObject, isObject, setKey } from "../values.js";
import { type Arguments, fn } from "./arguments.js";

const ANY = Number.POSITIVE_INFINITY;
/** Longest list range() and setproduct() make. */
const MAX_ELEMENTS = 1024;

const keyOf = (value: HclValue): string => JSON.stringify(value);

function distinct(list: readonly HclValue[]): HclValue[] {
  return [...new Map(list.map((item) => [keyOf(item), item])).values()];
}

function sorted(keys: string[]): string[] {
  return keys.sort(compareStrings);
}

function chunklist(args: Arguments): HclValue {
  const list = args.list(0);
  const size = args.integer(1);
  if (size < 0) throw new FunctionError("the size must not be negative");
  if (size === 0) return [list];
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) =>
    list.slice(i * size, (i + 1) * size),
  );
}

function element(args: Arguments): HclValue {
  const list = args.list(0);
  if (list.length === 0) throw new FunctionError("the list is empty");
  const index = args.integer(1) % list.length;
  return list[index < 0 ? index + list.length : index]!;
}

function index(args: Arguments): HclValue {
  const collection = args.any(0);
  if (isObject(collection)) {
    const value = getKey(collection, args.string(1));
    if (value === undefined) throw new FunctionError("there is no such key");
    return value;
  }
  const value = args.list(0)[args.integer(1)];
  if (value === undefined) throw new FunctionError("there is no such index");
  return value;
}

function length(value: HclValue): number {
  if (Array.isArray(value)) return value.length;
  if (isObject(value)) return Object.keys(value).length;
  throw new FunctionError("argument 1 must be a list or an object");
}

function lookup(args: Arguments): HclValue {
  const value = getKey(args.object(0), args.string(1));
  if (value !== undefined) return value;
  if (args.all.length === 3) return args.any(2);
  throw new FunctionError(`there is no key ${JSON.stringify(args.string(1))} and no default`);
}

function merge(args: Arguments): HclValue {
  const result: HclObject = {};
  args.all.forEach((value, i) => {
    if (value === null) return;
    for (const [key, item] of Object.entries(args.object(i))) setKey(result, key, item);
  });
  return result;
}

function range(args: Arguments): HclValue {
  const start = args.all.length === 1 ? 0 : args.number(0);
  const end = args.all.length === 1 ? args.number(0) : args.number(1);
  const step = args.all.length === 3 ? args.number(2) : end < start ? -1 : 1;
  if (step === 0 || (end - start) * step < 0) throw new FunctionError("the step never reaches the end");
  const list: number[] = [];
  for (let at = start; step > 0 ? at < end : at > end; at += step) {
    if (list.length >= MAX_ELEMENTS) throw new FunctionError(`more than ${MAX_ELEMENTS} elements`);
    list.push(at);
  }
  return list;
}

function setproduct(args: Arguments): HclValue {
  let result: HclValue[][] = [[]];
  for (let i = 0; i < args.all.length; i++) {
    const list = args.list(i);
    if (result.length * list.length > MAX_ELEMENTS)
      throw new FunctionError(`more than ${MAX_ELEMENTS} combinations`);
    result = result.flatMap((head) => list.map((item) => [...head, item]));
  }
  return result;
}

function flatten(list: readonly HclValue[]): HclValue[] {
  return list.flatMap((item) => (Array.isArray(item) ? flatten(item) : [item]));
}

function slice(args: Arguments): HclValue {
  const list = args.list(0);
  const [start, end] = [args.integer(1), args.integer(2)];
  if (start < 0 || end < start || end > list.length) {
    throw new FunctionError(`${start} to ${end} is not a part of a list of ${list.length} elements`);
  }
  return list.slice(start, end);
}

function zipmap(args: Arguments): HclValue {
  const keys = args.strings(0);
  const values = args.list(1);
  if (keys.length !== values.length)
    throw new FunctionError(`${keys.length} keys for ${values.length} values`);
  const result: HclObject = {};
  for (const [i, key] of keys.entries()) setKey(result, key, values[i]!);
  return result;
}

function coalesce(args: Arguments): HclValue {
  const found = args.all.find((value) => value !== null);
  if (found === undefined) throw new FunctionError("every argument is null");
  return found;
}

function coalescelist(args: Arguments): HclValue {
  const found = args.all.findIndex((_, i) => args.list(i).length > 0);
  if (found < 0) throw new FunctionError("every list is empty");
  return args.list(found);
}

function combine(
  args: Arguments,
  keep: (item: HclValue, others: readonly HclValue[][]) => boolean,
): HclValue {
  const others = args.all.slice(1).map((_, i) => args.list(i + 1));
  return distinct(args.list(0)).filter((item) => keep(item, others));
}

export const collectionFunctions: Readonly<Record<string, HclFunction>> = {
  chunklist: fn(2, 2, chunklist),
  coalesce: fn(1, ANY, coalesce),
  coalescelist: fn(1, ANY, coalescelist),
  compact: fn(1, 1, (a) => a.list(0).filter((item) => item !== "" && item !== null)),
  concat: fn(1, ANY, (a) => a.all.flatMap((_, i) => a.list(i))),
  contains: fn(2, 2, (a) => a.list(0).some((item) => equalValues(item, a.any(1)))),
  distinct: fn(1, 1, (a) => distinct(a.list(0))),
  element: fn(2, 2, element),
  flatten: fn(1, 1, (a) => flatten(a.list(0))),
  index: fn(2, 2, index),
  keys: fn(1, 1, (a) => sorted(Object.keys(a.object(0)))),
  length: fn(1, 1, (a) => length(a.any(0))),
  lookup: fn(2, 3, lookup),
  merge: fn(1, ANY, merge),
  range: fn(1, 3, range),
  reverse: fn(1, 1, (a) => a.list(0).toReversed()),
  setintersection: fn(1, ANY, (a) =>
    combine(a, (item, sets) => sets.every((s) => s.some((o) => equalValues(o, item)))),
  ),
  setproduct: fn(1, ANY, setproduct),
  setsubtract: fn(2, 2, (a) => combine(a, (item, sets) => !sets[0]!.some((o) => equalValues(o, item)))),
  setunion: fn(1, ANY, (a) => distinct(a.all.flatMap((_, i) => a.list(i)))),
  slice: fn(3, 3, slice),
  sort: fn(1, 1, (a) => sorted(a.strings(0))),
  values: fn(1, 1, (a) => sorted(Object.keys(a.object(0))).map((key) => a.object(0)[key]!)),
  zipmap: fn(2, 2, zipmap),
};
