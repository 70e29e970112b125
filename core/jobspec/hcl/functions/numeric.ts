import { FunctionError, type HclFunction } from "../evaluate.js";
import { fn } from "./arguments.js";

const ANY = Number.POSITIVE_INFINITY;

function finite(value: number): number {
  if (!Number.isFinite(value)) throw new FunctionError("the result is not a number");
  return value;
}

function parseint(text: string, base: number): number {
  if (base < 2 || base > 36) throw new FunctionError("the base must be between 2 and 36");
  const digits = "0123456789abcdefghijklmnopqrstuvwxyz".slice(0, base);
  const body = text.replace(/^[+-]/, "").toLowerCase();
  if (body === "" || [...body].some((c) => !digits.includes(c))) {
    throw new FunctionError(`cannot read ${JSON.stringify(text)} as a base ${base} number`);
  }
  return Number.parseInt(text, base);
}

export const numericFunctions: Readonly<Record<string, HclFunction>> = {
  abs: fn(1, 1, (a) => Math.abs(a.number(0))),
  ceil: fn(1, 1, (a) => Math.ceil(a.number(0))),
  floor: fn(1, 1, (a) => Math.floor(a.number(0))),
  log: fn(2, 2, (a) => finite(Math.log(a.number(0)) / Math.log(a.number(1)))),
  max: fn(1, ANY, (a) => Math.max(...a.all.map((_, i) => a.number(i)))),
  min: fn(1, ANY, (a) => Math.min(...a.all.map((_, i) => a.number(i)))),
  parseint: fn(2, 2, (a) => parseint(a.string(0), a.integer(1))),
  pow: fn(2, 2, (a) => finite(a.number(0) ** a.number(1))),
  signum: fn(1, 1, (a) => Math.sign(a.number(0))),
};
