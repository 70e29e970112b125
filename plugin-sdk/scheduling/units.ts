/**
 * Values with units, as devices report and constraints on devices write them: "2 GiB", "700 MHz", "16GB/s", "250 W".
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/device (constraints and units).
 */

/** What a unit measures; only values of the same kind compare. */
type Kind = "bytes" | "bytes/s" | "hertz" | "watts" | "";

/** A number in the base unit of its kind (bytes, bytes a second, hertz, watts). */
export interface Quantity {
  readonly kind: Kind;
  readonly value: number;
}

const UNITS = new Map<string, readonly [kind: Kind, factor: number]>([["", ["", 1]]]);
for (const [i, prefix] of ["K", "M", "G", "T", "P", "E"].entries()) {
  const binary = 1024 ** (i + 1);
  const decimal = 1000 ** (i + 1);
  UNITS.set(`${prefix}iB`, ["bytes", binary]).set(`${prefix}iB/s`, ["bytes/s", binary]);
  for (const name of prefix === "K" ? ["k", "K"] : [prefix])
    UNITS.set(`${name}B`, ["bytes", decimal]).set(`${name}B/s`, ["bytes/s", decimal]);
}
UNITS.set("B", ["bytes", 1]).set("B/s", ["bytes/s", 1]);
UNITS.set("Hz", ["hertz", 1]).set("kHz", ["hertz", 1e3]).set("KHz", ["hertz", 1e3]);
UNITS.set("MHz", ["hertz", 1e6]).set("GHz", ["hertz", 1e9]);
UNITS.set("mW", ["watts", 1e-3]).set("W", ["watts", 1]).set("kW", ["watts", 1e3]).set("KW", ["watts", 1e3]);
UNITS.set("MW", ["watts", 1e6]).set("GW", ["watts", 1e9]);

const QUANTITY = /^([+-]?\d{1,300}(?:\.\d{0,300})?)\s*([A-Za-z/]{0,8})$/;

/** The number and its unit; null for a text that is none, or whose unit nobody knows. */
export function parseQuantity(text: string): Quantity | null {
  const match = QUANTITY.exec(text.trim());
  const unit = match === null ? undefined : UNITS.get(match[2]!);
  return match === null || unit === undefined ? null : { kind: unit[0], value: Number(match[1]) * unit[1] };
}

/** Below, equal to or above 0; null where the two can't be compared as quantities. */
export function compareQuantities(left: string, right: string): number | null {
  const [a, b] = [parseQuantity(left), parseQuantity(right)];
  return a === null || b === null || a.kind !== b.kind ? null : a.value - b.value;
}
