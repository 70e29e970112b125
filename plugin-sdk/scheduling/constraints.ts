/**
 * Constraints and affinities (https://developer.hashicorp.com/nomad/docs/job-specification/constraint). An operand is
 * evaluated once per distinct value of an attribute; applying it to the cluster is then one pass over a column.
 */
import { RE2JS, RE2JSException } from "re2js";
import type { CandidateSet, NodeColumns } from "../contracts/scheduler.js";
import type { Constraint } from "../domain/policies.js";
import { ConstraintOperand } from "../domain/policies.js";
import { rowsOf } from "./candidates.js";
import { escapesComputedClass, parseTarget, resolveInRow, type Target } from "./interpolate.js";
import { parseVersion, parseVersionConstraint, type VersionGrammar } from "./version.js";

/** Whether a left side (undefined: the node has no such attribute) satisfies an operand with its right side. */
export type Matcher = (left: string | undefined) => boolean;

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

/** RE2's syntax and linear time, as Nomad has them: a job can't hold up the scheduler with a pattern. */
function regexpMatcher(text: string): Matcher {
  let pattern: RE2JS;
  try {
    pattern = RE2JS.compile(text);
  } catch (error) {
    if (error instanceof RE2JSException) return never;
    throw error;
  }
  return (left) => left !== undefined && pattern.test(left);
}
