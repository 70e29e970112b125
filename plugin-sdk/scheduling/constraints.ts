/**
 * Constraints and affinities (https://developer.hashicorp.com/nomad/docs/job-specification/constraint). An operand is
 * evaluated once per distinct value of an attribute; applying it to the cluster is then one pass over a column.
 */
import { createContext, Script } from "node:vm";
import type { CandidateSet, NodeColumns } from "../contracts/scheduler.js";
import type { Constraint } from "../domain/policies.js";
import { ConstraintOperand } from "../domain/policies.js";
import { rowsOf } from "./candidates.js";
import { escapesComputedClass, parseTarget, resolveInRow, type Target } from "./interpolate.js";
import { parseVersion, parseVersionConstraint, type VersionGrammar } from "./version.js";

/** Whether a left side (undefined: the node has no such attribute) satisfies an operand with its right side. */
export type Matcher = (left: string | undefined) => boolean;

/**
 * Milliseconds a regular expression may take on one value; a job must not be able to hold up the scheduler. The second, for
 * another try, is for a machine so busy that the thread wasn't run meanwhile.
 */
const REGEXP_TIMEOUTS = [50, 500];

/** Key of `AllocMetric.ConstraintFiltered`: "${attr.kernel.name} = linux". */
export function constraintText(constraint: Constraint): string {
  return `${constraint.LTarget} ${constraint.Operand} ${constraint.RTarget}`;
}

/** True for the operands that look at other allocations and not at the node alone. */
export function isDistinct(constraint: Constraint): boolean {
  return (
    constraint.Operand === ConstraintOperand.DistinctHosts ||
    constraint.Operand === ConstraintOperand.DistinctProperty
  );
}

/** True when computed node classes don't decide the constraint. */
export function constraintEscapes(constraint: Constraint): boolean {
  return escapesComputedClass(constraint.LTarget) || escapesComputedClass(constraint.RTarget);
}

/** Evaluates one constraint on resolved sides. An unknown operand or a right side that can't be read never holds. */
export function checkConstraint(
  operand: string,
  left: string | undefined,
  right: string | undefined,
): boolean {
  return createMatcher(operand, right)(left);
}

/**
 * Prepares an operand for many left sides. Orderings compare integers and decimals as numbers where both sides are such,
 * and by characters otherwise (as Nomad's documents from 1.2 on say). `!=` holds where the attribute is missing.
 */
export function createMatcher(operand: string, right: string | undefined): Matcher {
  switch (operand) {
    case "=":
    case "==":
    case "is":
      return (left) => left !== undefined && left === right;
    case "!=":
    case "not":
      return (left) => left !== right;
    case "<":
    case "<=":
    case ">":
    case ">=":
      return right === undefined
        ? never
        : (left) => left !== undefined && ordered(operand, compare(left, right));
    case ConstraintOperand.IsSet:
      return (left) => left !== undefined;
    case ConstraintOperand.IsNotSet:
      return (left) => left === undefined;
    case ConstraintOperand.Regexp:
      return right === undefined ? never : regexpMatcher(right);
    case ConstraintOperand.Version:
    case ConstraintOperand.Semver:
      return right === undefined ? never : versionMatcher(right, operand);
    case ConstraintOperand.SetContains:
    case ConstraintOperand.SetContainsAll:
      return right === undefined ? never : setMatcher(right, "every");
    case ConstraintOperand.SetContainsAny:
      return right === undefined ? never : setMatcher(right, "some");
    default:
      return never;
  }
}

/**
 * Rows of the columns that satisfy a rule, as a function of the row. One entry a distinct value is computed ahead, so
 * asking for a row costs two array reads.
 */
export function compileRowTest(
  rule: Pick<Constraint, "LTarget" | "Operand" | "RTarget">,
  columns: NodeColumns,
): (row: number) => boolean {
  const left = parseTarget(rule.LTarget);
  const right = parseTarget(rule.RTarget);
  if ("key" in right) return pairTest(rule, columns, right);
  const matches = createMatcher(rule.Operand, right.literal);
  if ("literal" in left) {
    const holds = matches(left.literal);
    return () => holds;
  }
  const codes = columns.codes(left.key);
  const holds = Uint8Array.from(columns.values(left.key), (value) => (matches(value) ? 1 : 0));
  // A code without an entry was added after the dictionary was read; its row waits for the next evaluation.
  return (row) => holds[codes[row] ?? 0] === 1;
}

/** Removes the rows that fail the constraint; returns how many. */
export function filterByConstraint(
  candidates: CandidateSet,
  constraint: Constraint,
  columns: NodeColumns,
): number {
  const test = compileRowTest(constraint, columns);
  let removed = 0;
  for (const row of rowsOf(candidates)) {
    if (test(row)) continue;
    candidates.remove(row);
    removed++;
  }
  return removed;
}

/** Both sides differ by node: one evaluation for each pair of values that occurs. */
function pairTest(
  rule: Pick<Constraint, "LTarget" | "Operand" | "RTarget">,
  columns: NodeColumns,
  right: Extract<Target, { key: string }>,
): (row: number) => boolean {
  const matchers = new Map<string | undefined, Map<string | undefined, boolean>>();
  const rightCodes = columns.codes(right.key);
  const rightValues = columns.values(right.key);
  return (row) => {
    const rightValue = rightValues[rightCodes[row] ?? 0];
    const leftValue = resolveInRow(rule.LTarget, columns, row);
    let known = matchers.get(rightValue);
    if (known === undefined) {
      known = new Map();
      matchers.set(rightValue, known);
    }
    let holds = known.get(leftValue);
    if (holds === undefined) {
      holds = checkConstraint(rule.Operand, leftValue, rightValue);
      known.set(leftValue, holds);
    }
    return holds;
  };
}

function never(): boolean {
  return false;
}

/** Whether an order (below, equal to or above 0) satisfies `<`, `<=`, `>` or `>=`. */
export function ordered(operand: string, order: number): boolean {
  switch (operand) {
    case "<":
      return order < 0;
    case "<=":
      return order <= 0;
    case ">":
      return order > 0;
    default:
      return order >= 0;
  }
}

const INTEGER = /^[+-]?\d{1,300}$/;
const DECIMAL = /^[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,3})?$/;

function compare(left: string, right: string): number {
  if (INTEGER.test(left) && INTEGER.test(right)) {
    const difference = BigInt(left.replace("+", "")) - BigInt(right.replace("+", ""));
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }
  if (DECIMAL.test(left) && DECIMAL.test(right)) return Number(left) - Number(right);
  return left < right ? -1 : left > right ? 1 : 0;
}

function versionMatcher(text: string, grammar: VersionGrammar): Matcher {
  const holds = parseVersionConstraint(text, grammar);
  if (holds === null) return never;
  return (left) => {
    const version = left === undefined ? null : parseVersion(left, grammar);
    return version !== null && holds(version);
  };
}

function setMatcher(text: string, how: "every" | "some"): Matcher {
  const wanted = text.split(",").map((part) => part.trim());
  return (left) => {
    if (left === undefined) return false;
    const has = new Set(left.split(",").map((part) => part.trim()));
    return wanted[how]((part) => has.has(part));
  };
}

const regexpSandbox = createContext({ pattern: /(?:)/, text: "" });
const regexpTest = new Script("pattern.test(text)");

function regexpMatcher(text: string): Matcher {
  const pattern = compileRegexp(text);
  if (pattern === null) return never;
  let endless = false;
  return (left) => {
    if (left === undefined || endless) return false;
    for (const timeout of REGEXP_TIMEOUTS) {
      const matches = matchesWithin(pattern, left, timeout);
      if (matches !== null) return matches;
    }
    // It backtracks without end: not matching is the answer that places nothing wrongly, and nobody asks it again.
    endless = true;
    return false;
  };
}

/** Null when it took longer. */
function matchesWithin(pattern: RegExp, text: string, timeout: number): boolean | null {
  regexpSandbox.pattern = pattern;
  regexpSandbox.text = text;
  try {
    return regexpTest.runInContext(regexpSandbox, { timeout }) === true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return null;
    throw error;
  }
}

/** Null when the pattern can't be read. Leading flags of Go's syntax, `(?i)`, become JavaScript's. */
function compileRegexp(text: string): RegExp | null {
  const flags = /^\(\?([ims]+)\)/.exec(text);
  try {
    return flags === null
      ? new RegExp(text)
      : new RegExp(text.slice(flags[0].length), [...new Set(flags[1]!)].join(""));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
