import type { HclValue } from "./syntax.js";

export type HclObject = { [key: string]: HclValue };

export function isObject(value: HclValue | undefined): value is HclObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a key of any name, `__proto__` included, as an own property. */
export function setKey<T>(target: { [key: string]: T }, key: string, value: T): void {
  if (key === "__proto__") {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    target[key] = value;
  }
}

/** Own property only, so that "constructor" is never found by accident. */
export function getKey<T>(target: { [key: string]: T }, key: string): T | undefined {
  return Object.hasOwn(target, key) ? target[key] : undefined;
}

/** What people call the type of a value. */
export function typeName(value: HclValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "list";
  return typeof value === "boolean" ? "bool" : typeof value === "object" ? "object" : typeof value;
}

/** A number in decimal notation, never with an exponent, as cty prints it. */
export function numberText(value: number): string {
  const text = String(value);
  if (!/e/.test(text)) return text;
  return Number.isInteger(value) ? BigInt(value).toString() : value.toFixed(20).replace(/\.?0+$/, "");
}

/** Text of a string, number or bool; undefined for anything else. */
export function scalarText(value: HclValue): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number") return numberText(value);
  if (typeof value === "boolean") return String(value);
  return undefined;
}

/** Number of a number or of a text that is one; undefined for anything else. */
export function toNumber(value: HclValue): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "string" && /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value)) return Number(value);
  return undefined;
}

/** Bool of a bool or of "true" and "false"; undefined for anything else. */
export function toBool(value: HclValue): boolean | undefined {
  if (typeof value === "boolean") return value;
  return value === "true" ? true : value === "false" ? false : undefined;
}

/** Deep equality without conversion, as `==` has it: 1 and "1" differ. Order of keys does not matter. */
export function equalValues(a: HclValue, b: HclValue): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => equalValues(item, b[i]!));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equalValues(a[key]!, b[key]!))
  );
}

/** Strings in the order of their UTF-8 bytes, which is how Go and cty sort. */
export function compareStrings(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
