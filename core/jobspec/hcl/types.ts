import { didYouMean } from "./error.js";
import type { Expr, HclValue } from "./syntax.js";
import { isObject, scalarText, setKey, toBool, toNumber, typeName } from "./values.js";

/** A type constraint: `string`, `list(number)`, `object({a = string})`… */
export type HclType =
  | { kind: "any" | "string" | "number" | "bool" }
  | { kind: "list" | "set" | "map"; item: HclType }
  | { kind: "tuple"; items: HclType[] }
  | { kind: "object"; fields: Map<string, HclType> };

/** A value or type that does not fit; the message is a sentence, the caller knows where. */
export class TypeMismatch extends Error {
  override name = "TypeMismatch";
}

/** Names of the primitive types and of the type constructors. */
const TYPE_NAMES = ["any", "string", "number", "bool", "list", "set", "map", "tuple", "object"] as const;

/** Reads a type expression. Throws TypeMismatch. */
export function readType(expr: Expr): HclType {
  if (expr.kind === "template" && expr.parts.length === 1 && expr.parts[0]!.kind === "text") {
    // Early HCL wrote the type in quotes.
    return simpleType(expr.parts[0]!.value);
  }
  if (expr.kind === "variable") return simpleType(expr.name);
  if (expr.kind === "call" && expr.args.length === 1) {
    const argument = expr.args[0]!;
    if (expr.name === "list" || expr.name === "set" || expr.name === "map") {
      return { kind: expr.name, item: readType(argument) };
    }
    if (expr.name === "tuple" && argument.kind === "tuple") {
      return { kind: "tuple", items: argument.items.map(readType) };
    }
    if (expr.name === "object" && argument.kind === "object") {
      const fields = new Map<string, HclType>();
      for (const { key, value } of argument.items) {
        if (key.kind !== "literal") throw new TypeMismatch("the keys of an object type are plain names.");
        fields.set(String(key.value), readType(value));
      }
      return { kind: "object", fields };
    }
  }
  throw new TypeMismatch(`this is not a type; types are ${TYPE_NAMES.join(", ")}.`);
}

function simpleType(name: string): HclType {
  if (name === "any" || name === "string" || name === "number" || name === "bool") return { kind: name };
  if (name === "list" || name === "set" || name === "map") return { kind: name, item: { kind: "any" } };
  throw new TypeMismatch(
    `"${name}" is not a type; types are ${TYPE_NAMES.join(", ")}.${didYouMean(name, TYPE_NAMES)}`,
  );
}

/** `value` as a value of `type`, converted where cty converts (numbers and bools to and from text). Throws TypeMismatch. */
export function convert(value: HclValue, type: HclType): HclValue {
  if (value === null || type.kind === "any") return value;
  switch (type.kind) {
    case "string":
      return scalarText(value) ?? mismatch("string", value);
    case "number":
      return toNumber(value) ?? mismatch("number", value);
    case "bool":
      return toBool(value) ?? mismatch("bool", value);
    case "list":
    case "set": {
      if (!Array.isArray(value)) return mismatch(type.kind, value);
      const items = value.map((item) => convert(item, type.item));
      return type.kind === "list" ? items : uniqueScalars(items);
    }
    case "map":
      if (!isObject(value)) return mismatch("map", value);
      return mapValues(value, (item) => convert(item, type.item));
    case "tuple":
      if (!Array.isArray(value) || value.length !== type.items.length) {
        throw new TypeMismatch(`a list of ${type.items.length} elements is required.`);
      }
      return value.map((item, i) => convert(item, type.items[i]!));
    case "object": {
      if (!isObject(value)) return mismatch("object", value);
      const result: { [key: string]: HclValue } = {};
      for (const [name, field] of type.fields) {
        if (!Object.hasOwn(value, name)) throw new TypeMismatch(`attribute "${name}" is required.`);
        setKey(result, name, convert(value[name]!, field));
      }
      return result;
    }
  }
}

function mismatch(wanted: string, value: HclValue): never {
  throw new TypeMismatch(`a ${wanted} is required, not ${typeName(value)}.`);
}

function mapValues(value: { [key: string]: HclValue }, change: (item: HclValue) => HclValue): HclValue {
  const result: { [key: string]: HclValue } = {};
  for (const [key, item] of Object.entries(value)) setKey(result, key, change(item));
  return result;
}

function uniqueScalars(items: HclValue[]): HclValue[] {
  const seen = new Set<string>();
  return items.filter((item) => {
    const key = JSON.stringify(item);
    return seen.has(key) ? false : seen.add(key);
  });
}
