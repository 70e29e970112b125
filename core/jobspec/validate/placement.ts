import type { Affinity, Constraint, Spread } from "@drover/plugin-sdk";
import { runsOnEveryNode } from "../job-types.js";
import { compileRe2 } from "../regexp.js";
import { type ErrorList, quoted } from "./errors.js";

const COMPARISONS = ["=", "==", "is", "!=", "not", "<", "<=", ">", ">="];
const SETS = ["set_contains", "set_contains_all", "set_contains_any"];

/** One comparison of hashicorp/go-version: an operator and a version of any number of parts. */
const VERSION_TERM =
  /^\s*(?:=|!=|>|<|>=|<=|~>)?\s*v?\d+(?:\.\d+)*(?:-?[0-9A-Za-z~-]+(?:\.[0-9A-Za-z~-]+)*)?(?:\+[0-9A-Za-z.~-]+)?\s*$/;
/** The same for Semantic Versioning 2.0: no leading zeros, a dash before a pre-release, no "~>". */
const SEMVER_TERM =
  /^\s*(?:=|!=|>|<|>=|<=)?\s*v?(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){0,2}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\s*$/;

/** Checks the right side of operands that have a syntax of their own. */
function checkTarget(operand: string, target: string, list: ErrorList): void {
  if (operand === "regexp") {
    try {
      compileRe2(target);
    } catch (error) {
      list.add(
        `Regular expression failed to compile: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  if (operand === "version" || operand === "semver") {
    const term = operand === "version" ? VERSION_TERM : SEMVER_TERM;
    const bad = target.split(",").find((part) => !term.test(part));
    const name = operand === "version" ? "Version" : "Semver";
    if (bad !== undefined) list.add(`${name} constraint is invalid: Malformed constraint: ${bad}`);
  }
}

function checkConstraint(c: Constraint, list: ErrorList): void {
  const { LTarget, Operand, RTarget } = c;
  if (Operand === "") {
    list.add("Missing constraint operand");
    return;
  }
  if (SETS.includes(Operand)) list.check(RTarget === "", "Set contains constraint requires an RTarget");
  else if (COMPARISONS.includes(Operand))
    list.check(RTarget === "", `Operator ${quoted(Operand)} requires an RTarget`);
  else if (Operand === "is_set" || Operand === "is_not_set") {
    list.check(RTarget !== "", `Operator ${quoted(Operand)} does not support an RTarget`);
  } else if (Operand === "distinct_property") {
    if (RTarget !== "" && !/^\d+$/.test(RTarget)) {
      list.add(`Failed to convert RTarget ${quoted(RTarget)} to uint64: invalid syntax`);
    } else if (RTarget !== "" && Number(RTarget) < 1) {
      list.add(`Distinct Property must have an allowed count of 1 or greater: ${RTarget} < 1`);
    }
  } else if (["regexp", "version", "semver"].includes(Operand)) checkTarget(Operand, RTarget, list);
  else if (Operand !== "distinct_hosts") list.add(`Unknown constraint operator ${quoted(Operand)}`);
  if (Operand !== "distinct_hosts") {
    list.check(
      LTarget === "",
      `No LTarget provided but is required by constraint operator ${quoted(Operand)}`,
    );
  }
}

export function checkConstraints(constraints: readonly Constraint[] | null, list: ErrorList): void {
  constraints?.forEach((c, i) => {
    list.nest(`Constraint ${i + 1} validation failed`, (inner) => checkConstraint(c, inner));
  });
}

function checkAffinity(a: Affinity, list: ErrorList): void {
  const { Operand, RTarget, LTarget, Weight } = a;
  if (Operand === "") list.add("Missing affinity operand");
  else if (SETS.includes(Operand)) list.check(RTarget === "", "Set contains operators require an RTarget");
  else if (["regexp", "version", "semver"].includes(Operand)) checkTarget(Operand, RTarget, list);
  else if (COMPARISONS.includes(Operand))
    list.check(RTarget === "", `Operator ${quoted(Operand)} requires an RTarget`);
  else list.add(`Unknown affinity operator ${quoted(Operand)}`);
  list.check(LTarget === "", "No LTarget provided but is required");
  list.check(Weight > 100 || Weight < -100, "Affinity weight must be within the range [-100,100]");
  list.check(Weight === 0, "Affinity weight cannot be zero");
}

/** System jobs run everywhere: preferences have no meaning for them. */
export function checkAffinities(
  affinities: readonly Affinity[] | null,
  jobType: string,
  list: ErrorList,
): void {
  if (runsOnEveryNode(jobType)) {
    list.check(affinities !== null, "System jobs may not have an affinity stanza");
    return;
  }
  affinities?.forEach((a, i) => {
    list.nest(`Affinity ${i + 1} validation failed`, (inner) => checkAffinity(a, inner));
  });
}

function checkSpread(s: Spread, list: ErrorList): void {
  list.check(s.Attribute === "", "Missing spread attribute");
  list.check(s.Weight <= 0 || s.Weight > 100, "Spread stanza must have a positive weight from 0 to 100");
  const seen = new Set<string>();
  let sum = 0;
  for (const { Percent, Value } of s.SpreadTarget ?? []) {
    list.check(seen.has(Value), `Spread target value ${quoted(Value)} already defined`);
    seen.add(Value);
    const outside = Percent < 0 || Percent > 100;
    list.check(outside, `Spread target percentage for value ${quoted(Value)} must be between 0 and 100`);
    sum += Percent;
  }
  list.check(sum > 100, `Sum of spread target percentages must not be greater than 100%; got ${sum}%`);
}

export function checkSpreads(spreads: readonly Spread[] | null, jobType: string, list: ErrorList): void {
  if (runsOnEveryNode(jobType)) {
    list.check(spreads !== null, "System jobs may not have a spread stanza");
    return;
  }
  spreads?.forEach((s, i) => {
    list.nest(`Spread ${i + 1} validation failed`, (inner) => checkSpread(s, inner));
  });
}
