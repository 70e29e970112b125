/**
 * Versions and version constraints: the lenient kind of HashiCorp's go-version (operand `version`: ">= 1.2, < 2", "~> 1.2.3")
 * and the strict kind of Semantic Versioning 2.0 (operand `semver`).
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/constraint
 */

export interface Version {
  /** At least one. */
  readonly segments: readonly bigint[];
  /** "" for a release. */
  readonly prerelease: string;
}

export type VersionGrammar = "version" | "semver";

/** Longer texts are no versions; bounds the work on what a node or a job claims. */
const LONGEST = 256;
const LENIENT =
  /^v?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z~][0-9A-Za-z.~-]*)|([A-Za-z~][0-9A-Za-z.~-]*))?(?:\+[0-9A-Za-z.~-]+)?$/;
const NUMBER = "(?:0|[1-9]\\d*)";
const STRICT = new RegExp(
  `^(${NUMBER}\\.${NUMBER}\\.${NUMBER})(?:-((?:${NUMBER}|\\d*[A-Za-z-][0-9A-Za-z-]*)(?:\\.(?:${NUMBER}|\\d*[A-Za-z-][0-9A-Za-z-]*))*))?(?:\\+[0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*)?$`,
);
const PART = /^\s*(=|!=|>=|<=|>|<|~>)?\s*(\S+)\s*$/;

/** The version, or null when the text is none. */
export function parseVersion(text: string, grammar: VersionGrammar = "version"): Version | null {
  if (text.length > LONGEST) return null;
  const match = (grammar === "semver" ? STRICT : LENIENT).exec(text.trim());
  if (match === null) return null;
  return {
    segments: match[1]!.split(".").map((segment) => BigInt(segment)),
    prerelease: match[2] ?? match[3] ?? "",
  };
}

/** Below, equal to or above 0. Missing segments are 0, a prerelease comes before its release, build metadata is ignored. */
export function compareVersions(a: Version, b: Version): number {
  return compareSegments(a, b) || comparePrereleases(a.prerelease, b.prerelease);
}

/**
 * A predicate for a comma-separated list of conditions, all of which must hold; null when the list can't be read. With
 * the lenient grammar a prerelease satisfies an ordering only when the condition names a prerelease of the same version.
 */
export function parseVersionConstraint(
  text: string,
  grammar: VersionGrammar = "version",
): ((version: Version) => boolean) | null {
  const parts: ((version: Version) => boolean)[] = [];
  for (const part of text.split(",")) {
    const match = PART.exec(part);
    const wanted = match === null ? null : parseVersion(match[2]!, grammar);
    if (match === null || wanted === null) return null;
    const operator = match[1] ?? "=";
    if (operator === "~>" && grammar === "semver") return null;
    parts.push(condition(operator, wanted, grammar));
  }
  return (version) => parts.every((holds) => holds(version));
}

function condition(
  operator: string,
  wanted: Version,
  grammar: VersionGrammar,
): (version: Version) => boolean {
  const comparable = (version: Version): boolean =>
    grammar === "semver" || prereleaseComparable(version, wanted);
  switch (operator) {
    case "!=":
      return (version) => compareVersions(version, wanted) !== 0;
    case ">":
      return (version) => comparable(version) && compareVersions(version, wanted) > 0;
    case ">=":
      return (version) => comparable(version) && compareVersions(version, wanted) >= 0;
    case "<":
      return (version) => comparable(version) && compareVersions(version, wanted) < 0;
    case "<=":
      return (version) => comparable(version) && compareVersions(version, wanted) <= 0;
    case "~>":
      return (version) =>
        comparable(version) &&
        compareVersions(version, wanted) >= 0 &&
        wanted.segments.slice(0, -1).every((segment, i) => (version.segments[i] ?? 0n) === segment);
    default:
      return (version) => compareVersions(version, wanted) === 0;
  }
}

function prereleaseComparable(version: Version, wanted: Version): boolean {
  if (version.prerelease === "") return true;
  return wanted.prerelease !== "" && compareSegments(version, wanted) === 0;
}

function compareSegments(a: Version, b: Version): number {
  const length = Math.max(a.segments.length, b.segments.length);
  for (let i = 0; i < length; i++) {
    const left = a.segments[i] ?? 0n;
    const right = b.segments[i] ?? 0n;
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}

function comparePrereleases(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  const left = a.split(".");
  const right = b.split(".");
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = compareIdentifiers(left[i]!, right[i]!);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}

/** Numbers by value and before words, words by their characters (Semantic Versioning 2.0, 11.4). */
function compareIdentifiers(a: string, b: string): number {
  const numberA = /^\d+$/.test(a);
  const numberB = /^\d+$/.test(b);
  if (numberA && numberB) {
    const difference = BigInt(a) - BigInt(b);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }
  if (numberA !== numberB) return numberA ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}
