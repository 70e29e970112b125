/** Which node filters and scorers take part in the placement of a job: those that always do and those that are named. */
import type { NamedParts, OfferedPart, SchedulerRules } from "../contracts/scheduler-rules.js";
import type { Job } from "../domain/job.js";

/** Keys of a job's `meta` that name filters and scorers, separated by commas; a scorer may have a weight: `carbon=2`. */
export const FILTERS_META = "drover.filters";
export const SCORERS_META = "drover.scorers";

/** A scorer's weight multiplies its score; it is above 0 and at most this. */
export const MAX_SCORER_WEIGHT = 10;

/** Scores that the placement engine writes itself. */
export const ENGINE_SCORES: readonly string[] = [
  "allocation-spread",
  "binpack",
  "devices",
  "job-anti-affinity",
  "node-affinity",
  "node-reschedule-penalty",
  "preemption",
];

export interface Selection {
  readonly filters: readonly string[];
  /** Weight by name. */
  readonly scorers: ReadonlyMap<string, number>;
  /** What is wrong with the names in the job's meta; empty where nothing is. */
  readonly problems: readonly string[];
}

const NAME = /^[A-Za-z0-9._-]+$/;

/** Whether a filter or scorer can be named in a job's meta and in the agent's configuration. */
export function isPartName(name: unknown): name is string {
  return typeof name === "string" && NAME.test(name);
}

/** A scorer's name and weight from `name` or `name=weight`. Throws an Error that says what is wrong. */
export function parseScorer(text: string): { readonly name: string; readonly weight: number } {
  const [name = "", weight, ...more] = text.split("=").map((part) => part.trim());
  if (!isPartName(name)) throw new Error(`${JSON.stringify(text)} is not the name of a scorer`);
  if (weight === undefined) return { name, weight: 1 };
  const number = /^\d*\.?\d+$/.test(weight) ? Number(weight) : Number.NaN;
  if (more.length > 0 || !(number > 0 && number <= MAX_SCORER_WEIGHT)) {
    throw new Error(
      `weight of scorer "${name}" must be a number above 0 and at most ${MAX_SCORER_WEIGHT}, not ${JSON.stringify(
        text.slice(text.indexOf("=") + 1).trim(),
      )}`,
    );
  }
  return { name, weight: number };
}

/**
 * Filters and scorers for a job: those that always apply, those the operator names for its type and namespace, and those
 * its meta names. A weight in the job's meta counts before the operator's.
 */
export function selectParts(
  job: Pick<Job, "Type" | "Namespace" | "Meta">,
  rules: SchedulerRules,
  offered: { readonly filters: Iterable<OfferedPart>; readonly scorers: Iterable<OfferedPart> },
): Selection {
  const known = { filters: [...offered.filters], scorers: [...offered.scorers] };
  const filters = new Set(always(known.filters));
  const scorers = new Map(always(known.scorers).map((name) => [name, 1]));
  for (const named of rulesOf(job, rules)) {
    for (const name of named.filters) filters.add(name);
    for (const text of named.scorers) {
      const { name, weight } = parseScorer(text);
      scorers.set(name, weight);
    }
  }
  const problems: string[] = [];
  for (const name of listOf(job.Meta?.[FILTERS_META])) {
    if (known.filters.some((one) => one.name === name)) filters.add(name);
    else problems.push(`meta ${FILTERS_META}: ${unknownPart("node filter", name, known.filters)}`);
  }
  for (const text of listOf(job.Meta?.[SCORERS_META])) {
    try {
      const { name, weight } = parseScorer(text);
      if (known.scorers.some((one) => one.name === name)) scorers.set(name, weight);
      else problems.push(`meta ${SCORERS_META}: ${unknownPart("node scorer", name, known.scorers)}`);
    } catch (error) {
      problems.push(`meta ${SCORERS_META}: ${(error as Error).message}`);
    }
  }
  return { filters: [...filters], scorers, problems };
}

/** What is said of a name that no plugin brings. */
export function unknownPart(kind: string, name: string, known: Iterable<OfferedPart>): string {
  const names = [...known].map((one) => `"${one.name}"`).sort();
  return `no plugin of this server brings a ${kind} "${name}"; known: ${names.join(", ") || "none"}`;
}

/** The blocks that concern a job, the more general first. */
function rulesOf(job: Pick<Job, "Type" | "Namespace">, rules: SchedulerRules): NamedParts[] {
  return ["*", job.Type].flatMap((type) => {
    const rule = Object.hasOwn(rules, type) ? rules[type] : undefined;
    if (rule === undefined) return [];
    const own = Object.hasOwn(rule.namespaces, job.Namespace) ? rule.namespaces[job.Namespace] : undefined;
    return own === undefined ? [rule] : [rule, own];
  });
}

function always(parts: readonly OfferedPart[]): string[] {
  return parts.filter(({ applies }) => applies === "always").map(({ name }) => name);
}

function listOf(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}
