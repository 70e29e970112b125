import { FunctionError, type HclFunction } from "../evaluate.js";
import type { HclValue } from "../syntax.js";
import { type HclObject, isObject, scalarText, toBool, toNumber, typeName } from "../values.js";

/** Reads the arguments of one call with conversion, and says which one does not fit. */
export class Arguments {
  constructor(readonly all: readonly HclValue[]) {}

  #wrong(i: number, wanted: string): never {
    const value = this.all[i];
    const got = value === undefined ? "missing" : typeName(value);
    throw new FunctionError(`argument ${i + 1} must be a ${wanted}, it is ${got}`);
  }

  any(i: number): HclValue {
    const value = this.all[i];
    return value === undefined ? this.#wrong(i, "value") : value;
  }

  string(i: number): string {
    return scalarText(this.all[i] ?? null) ?? this.#wrong(i, "string");
  }

  number(i: number): number {
    return toNumber(this.all[i] ?? null) ?? this.#wrong(i, "number");
  }

  integer(i: number): number {
    const value = this.number(i);
    return Number.isSafeInteger(value) ? value : this.#wrong(i, "whole number");
  }

  bool(i: number): boolean {
    return toBool(this.all[i] ?? null) ?? this.#wrong(i, "bool");
  }

  list(i: number): HclValue[] {
    const value = this.all[i];
    return Array.isArray(value) ? value : this.#wrong(i, "list");
  }

  strings(i: number): string[] {
    return this.list(i).map((item) => scalarText(item) ?? this.#wrong(i, "list of strings"));
  }

  object(i: number): HclObject {
    const value = this.all[i];
    return isObject(value) ? value : this.#wrong(i, "object");
  }
}

/** A function that takes between `least` and `most` arguments. */
export function fn(least: number, most: number, body: (args: Arguments) => HclValue): HclFunction {
  return (all) => {
    if (all.length < least || all.length > most) {
      const wanted =
        least === most ? `${least}` : most === Infinity ? `at least ${least}` : `${least} to ${most}`;
      throw new FunctionError(`it takes ${wanted} arguments, not ${all.length}`);
    }
    return body(new Arguments(all));
  };
}
