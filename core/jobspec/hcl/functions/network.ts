import { isIP } from "node:net";
import { FunctionError, type HclFunction } from "../evaluate.js";
import { fn } from "./arguments.js";

interface Prefix {
  address: bigint;
  /** 32 or 128. */
  bits: number;
  length: number;
}

function readAddress(text: string): bigint {
  if (isIP(text) === 4) return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  const v4 = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const groups =
    v4 === null
      ? text
      : `${v4[1]}${(readAddress(v4[2]!) >> 16n).toString(16)}:${(readAddress(v4[2]!) & 0xffffn).toString(16)}`;
  const [head = "", tail] = groups.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const middle = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...middle, ...right].reduce((sum, part) => (sum << 16n) | BigInt(`0x${part}`), 0n);
}

function addressText(address: bigint, bits: number): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((address >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  // The longest run of two or more zero groups is written "::" (RFC 5952).
  const runs = [...groups.join(":").matchAll(/(?<=^|:)0(?::0)+(?=:|$)/g)];
  const longest = runs.sort((a, b) => b[0].length - a[0].length)[0];
  if (longest === undefined) return groups.join(":");
  const text = groups.join(":");
  const before = text.slice(0, longest.index).replace(/:$/, "");
  const after = text.slice(longest.index + longest[0].length).replace(/^:/, "");
  return `${before}::${after}`;
}

function readPrefix(text: string): Prefix {
  const [address = "", length = ""] = text.split("/");
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  if (version === 0 || !/^\d{1,3}$/.test(length) || Number(length) > bits) {
    throw new FunctionError(`${JSON.stringify(text)} is not a network such as 10.0.0.0/8`);
  }
  const hostBits = BigInt(bits - Number(length));
  return { address: (readAddress(address) >> hostBits) << hostBits, bits, length: Number(length) };
}

function subnet(prefix: Prefix, newBits: number, number: bigint): string {
  const length = prefix.length + newBits;
  if (newBits < 0 || length > prefix.bits)
    throw new FunctionError(`the network has no room for ${newBits} more bits`);
  if (number < 0n || number >> BigInt(newBits) !== 0n)
    throw new FunctionError(`there is no subnet number ${number}`);
  return `${addressText(prefix.address | (number << BigInt(prefix.bits - length)), prefix.bits)}/${length}`;
}

function host(prefix: Prefix, number: bigint): string {
  const size = 1n << BigInt(prefix.bits - prefix.length);
  const at = number < 0n ? size + number : number;
  if (at < 0n || at >= size) throw new FunctionError(`the network has no host number ${number}`);
  return addressText(prefix.address | at, prefix.bits);
}

function netmask(prefix: Prefix): string {
  if (prefix.bits !== 32) throw new FunctionError("an IPv6 network has no netmask");
  const all = (1n << 32n) - 1n;
  const hostBits = BigInt(32 - prefix.length);
  return addressText((all >> hostBits) << hostBits, 32);
}

/** Consecutive subnets, each aligned to its own size. */
function subnets(prefix: Prefix, newBits: readonly number[]): string[] {
  const end = prefix.address + (1n << BigInt(prefix.bits - prefix.length));
  let next = prefix.address;
  return newBits.map((bits) => {
    const length = prefix.length + bits;
    if (bits < 1 || length > prefix.bits)
      throw new FunctionError(`the network cannot be extended by ${bits} bits`);
    const size = 1n << BigInt(prefix.bits - length);
    const start = ((next + size - 1n) / size) * size;
    next = start + size;
    if (next > end) throw new FunctionError("the network has no room for all subnets");
    return `${addressText(start, prefix.bits)}/${length}`;
  });
}

export const networkFunctions: Readonly<Record<string, HclFunction>> = {
  cidrhost: fn(2, 2, (a) => host(readPrefix(a.string(0)), BigInt(a.integer(1)))),
  cidrnetmask: fn(1, 1, (a) => netmask(readPrefix(a.string(0)))),
  cidrsubnet: fn(3, 3, (a) => subnet(readPrefix(a.string(0)), a.integer(1), BigInt(a.integer(2)))),
  cidrsubnets: fn(1, Number.POSITIVE_INFINITY, (a) =>
    subnets(
      readPrefix(a.string(0)),
      a.all.slice(1).map((_, i) => a.integer(i + 1)),
    ),
  ),
};
