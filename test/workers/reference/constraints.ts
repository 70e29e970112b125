/**
 * Constraints and affinities read off a node, one at a time: what the documents say and nothing to make it fast.
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/constraint
 */
import type { Constraint, Node } from "@drover/plugin-sdk";

export type Rule = Pick<Constraint, "LTarget" | "Operand" | "RTarget">;

/** The value of `${...}` on a node, undefined where it has none; any other text is itself. */
export function resolve(target: string, node: Node): string | undefined {
  const name = /^\$\{(.*)\}$/.exec(target)?.[1];
  if (name === undefined) return target;
  if (name === "node.datacenter") return node.Datacenter;
  if (name === "node.class") return node.NodeClass;
  if (name === "node.unique.id") return node.ID;
  if (name === "node.unique.name") return node.Name;
  if (name.startsWith("attr.")) return node.Attributes[name.slice("attr.".length)];
  if (name.startsWith("meta.")) return node.Meta?.[name.slice("meta.".length)];
  return undefined;
}

/** Whether the node satisfies the rule; `distinct_hosts` and `distinct_property` are not about the node alone. */
export function holds(rule: Rule, node: Node): boolean {
  return compare(resolve(rule.LTarget, node), rule.Operand, resolve(rule.RTarget, node));
}

/** Whether `left operand right` is true; undefined is a missing attribute. */
export function compare(left: string | undefined, operand: string, right: string | undefined): boolean {
  if (operand === "is_set") return left !== undefined;
  if (operand === "is_not_set") return left === undefined;
  if (operand === "!=" || operand === "not") return left !== right;
  if (left === undefined || right === undefined) return false;
  switch (operand) {
    case "=":
    case "==":
    case "is":
      return left === right;
    case "<":
      return order(left, right) < 0;
    case "<=":
      return order(left, right) <= 0;
    case ">":
      return order(left, right) > 0;
    case ">=":
      return order(left, right) >= 0;
    case "regexp":
      return new RegExp(right).test(left);
    case "version":
      return inRange(left, right, false);
    case "semver":
      return inRange(left, right, true);
    case "set_contains":
    case "set_contains_all":
      return items(right).every((item) => items(left).includes(item));
    case "set_contains_any":
      return items(right).some((item) => items(left).includes(item));
    default:
      throw new Error(`the reference knows no operand "${operand}"`);
  }
}

/** Numbers by value, other texts by their characters. */
function order(left: string, right: string): number {
  const numbers = [left, right].every((text) => /^-?\d+(\.\d+)?$/.test(text));
  if (numbers) return Number(left) - Number(right);
  return left < right ? -1 : left > right ? 1 : 0;
}

function items(list: string): string[] {
  return list.split(",").map((item) => item.trim());
}

interface Version {
  /** Major, minor, patch. */
  readonly numbers: readonly [number, number, number];
  /** Numbers that were written. */
  readonly written: number;
  readonly prerelease: string;
}

/** One to three numbers and at most one word behind a dash; null for any other text. */
function version(text: string, strict: boolean): Version | null {
  const match = /^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([a-z]+))?$/.exec(text);
  if (match === null || (strict && match[3] === undefined)) return null;
  const parts = [match[1], match[2], match[3]];
  return {
    numbers: [Number(parts[0]), Number(parts[1] ?? 0), Number(parts[2] ?? 0)],
    written: parts.filter((part) => part !== undefined).length,
    prerelease: match[4] ?? "",
  };
}

/** Every part of ">= 1.2, < 2" must hold. */
function inRange(text: string, range: string, strict: boolean): boolean {
  const found = version(text, strict);
  if (found === null) return false;
  return range.split(",").every((part) => {
    const [, operator = "", wantedText = ""] = /^\s*([<>=!~]*)\s*(\S+)\s*$/.exec(part) ?? [];
    const wanted = version(wantedText, strict);
    if (wanted === null) return false;
    const by = versionOrder(found, wanted);
    if (operator === "" || operator === "=") return by === 0;
    if (operator === "!=") return by !== 0;
    // Prereleases are chosen by those alone who ask for one of the same version; semver has no such rule.
    if (!strict && found.prerelease !== "") {
      if (wanted.prerelease === "" || numberOrder(found, wanted, 3) !== 0) return false;
    }
    if (operator === "<") return by < 0;
    if (operator === "<=") return by <= 0;
    if (operator === ">") return by > 0;
    if (operator === ">=") return by >= 0;
    // "~> 1.2.3": at least that, and all but the last number written are the same. semver has no such operator.
    return operator === "~>" && !strict && by >= 0 && numberOrder(found, wanted, wanted.written - 1) === 0;
  });
}

function numberOrder(a: Version, b: Version, length: number): number {
  for (let i = 0; i < length; i++) if (a.numbers[i] !== b.numbers[i]) return a.numbers[i]! - b.numbers[i]!;
  return 0;
}

/** A prerelease comes before its release. */
function versionOrder(a: Version, b: Version): number {
  const numbers = numberOrder(a, b, 3);
  if (numbers !== 0 || a.prerelease === b.prerelease) return numbers;
  if (a.prerelease === "" || b.prerelease === "") return a.prerelease === "" ? 1 : -1;
  return a.prerelease < b.prerelease ? -1 : 1;
}
