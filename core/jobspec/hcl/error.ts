/** A place in a source text: 1-based line and column (columns count Unicode code points, as HCL does). */
export interface SourcePosition {
  line: number;
  column: number;
}

/** One thing that is wrong in a source text. */
export interface Diagnostic extends SourcePosition {
  file: string;
  /** End of the offending range; equal to the start where only a point is known. */
  endLine: number;
  endColumn: number;
  /** What is wrong, in a few words: "Unsupported argument". */
  summary: string;
  /** What it means here and what to do about it. */
  detail: string;
}

/** How many diagnostics one message lists; a broken file can produce thousands. */
const MAX_LISTED = 20;

/** `file:line,column-endColumn: summary; detail`, the form in which HCL itself prints a diagnostic. */
export function formatDiagnostic(d: Diagnostic): string {
  const end = d.endLine === d.line ? `${d.endColumn}` : `${d.endLine},${d.endColumn}`;
  return `${d.file}:${d.line},${d.column}-${end}: ${d.summary}; ${d.detail}`;
}

/**
 * HCL or job specification text that cannot be used. `message` lists every diagnostic, one a line, in the form
 * `input.hcl:1,10-10: Argument or block definition required; An argument …`; the position fields and `snippet`
 * belong to the first.
 */
export class HclError extends Error {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The source line with a caret below the offending column; empty when the position is not in the text. */
  readonly snippet: string;
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[], text: string) {
    const first = diagnostics[0];
    if (first === undefined) throw new RangeError("an HclError needs at least one diagnostic");
    const listed = diagnostics.slice(0, MAX_LISTED).map(formatDiagnostic);
    if (diagnostics.length > MAX_LISTED) listed.push(`and ${diagnostics.length - MAX_LISTED} more errors`);
    super(listed.join("\n"));
    this.name = "HclError";
    this.file = first.file;
    this.line = first.line;
    this.column = first.column;
    this.snippet = snippetOf(text, first);
    this.diagnostics = diagnostics;
  }
}

function snippetOf(text: string, at: SourcePosition): string {
  const line = text.split(/\r?\n/, at.line)[at.line - 1];
  if (line === undefined || line.length > 400) return "";
  const before = [...line].slice(0, at.column - 1).map((c) => (c === "\t" ? "\t" : " "));
  return `${line}\n${before.join("")}^`;
}

/** Distance below which a known name is close enough to be what the person meant. */
function closeEnough(name: string): number {
  return Math.max(1, Math.floor(name.length / 3));
}

/** The known name nearest to what was written (edit distance, case ignored), or undefined when none is near. */
export function nearestName(written: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = closeEnough(written) + 1;
  for (const candidate of known) {
    const d = editDistance(written.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (d < bestDistance) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

/** Damerau–Levenshtein distance (adjacent transpositions count one), cut off at `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let d = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        d = Math.min(d, beforePrevious[j - 2]! + 1);
      }
      row.push(d);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/** `; did you mean "x"?` or nothing. */
export function didYouMean(written: string, known: Iterable<string>): string {
  const near = nearestName(written, known);
  return near === undefined ? "" : ` Did you mean "${near}"?`;
}
