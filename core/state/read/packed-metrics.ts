/**
 * `AllocMetric`s of one plan. From one placement to the next little changes: the counts stay, and of the best nodes only
 * the one just used has new scores. So counts and scores are written once and the metrics refer to them.
 */
import type { AllocMetric, NodeScoreMeta } from "@drover/plugin-sdk";
import { type NumberArray, type PackedColumn, packColumn, unpackColumn } from "./columnar.js";

/** What of a metric is as a rule the same for all of a plan. */
type Counts = Omit<AllocMetric, "AllocationTime" | "ScoreMetaData">;

export interface PackedMetrics {
  readonly counts: readonly Counts[];
  /** Of each metric: its counts, its time in nanoseconds, and how many scores it shows (plus one; 0: null). */
  readonly countsOf: PackedColumn;
  readonly times: readonly number[];
  readonly shown: PackedColumn;
  /** The scores of all metrics, one metric after the other. */
  readonly scoresOf: PackedColumn;
  /** Names that scores go by, a list for each combination that occurs. */
  readonly names: readonly (readonly string[])[];
  /** Of each score: its node, its list of names, and which of them are not 0 (a bit each). */
  readonly nodes: PackedColumn;
  readonly namesOf: PackedColumn;
  readonly masks: PackedColumn;
  /** Of each score the norm, then what is not 0, as 64-bit floats. */
  readonly values: Uint8Array;
}

/** A list of names longer than the bits of a mask is cut into none: such a metric is kept whole among the counts. */
const MAX_NAMES = 32;
const DOUBLE = Float64Array.BYTES_PER_ELEMENT;

export class MetricsPacker {
  readonly #counts: Counts[] = [];
  readonly #countsOf: number[] = [];
  readonly #times: number[] = [];
  readonly #shown: number[] = [];
  readonly #scoresOf: number[] = [];
  readonly #names: string[][] = [];
  readonly #nodes: number[] = [];
  readonly #namesOf: number[] = [];
  readonly #masks: number[] = [];
  readonly #values: number[] = [];
  readonly #metrics = new Map<AllocMetric, number>();
  readonly #scores = new Map<NodeScoreMeta, number>();
  readonly #numbered = new Map<string, number>();
  #lastCounts: { readonly metric: AllocMetric; readonly number: number } | undefined;

  /** `numberOf` gives the number of a node in the plan. */
  constructor(private readonly numberOf: (nodeId: string) => number) {}

  /** The number of a metric; the same object has the same. */
  add(metric: AllocMetric): number {
    const known = this.#metrics.get(metric);
    if (known !== undefined) return known;
    const number = this.#countsOf.length;
    this.#metrics.set(metric, number);
    const scores = metric.ScoreMetaData;
    const whole = scores?.some(({ Scores }) => Object.keys(Scores).length > MAX_NAMES) === true;
    this.#countsOf.push(this.#addCounts(metric, whole));
    this.#times.push(metric.AllocationTime);
    this.#shown.push(scores === null || whole ? 0 : scores.length + 1);
    if (!whole) for (const score of scores ?? []) this.#scoresOf.push(this.#addScore(score));
    return number;
  }

  pack(): PackedMetrics | null {
    if (this.#countsOf.length === 0) return null;
    return {
      counts: this.#counts,
      countsOf: packColumn(this.#countsOf),
      times: this.#times,
      shown: packColumn(this.#shown),
      scoresOf: packColumn(this.#scoresOf),
      names: this.#names,
      nodes: packColumn(this.#nodes),
      namesOf: packColumn(this.#namesOf),
      masks: packColumn(this.#masks),
      values: new Uint8Array(Float64Array.from(this.#values).buffer),
    };
  }

  #addCounts(metric: AllocMetric, whole: boolean): number {
    const { AllocationTime, ScoreMetaData, ...rest } = metric;
    const last = this.#lastCounts;
    if (!whole && last !== undefined && sameCounts(last.metric, metric)) return last.number;
    const counts = whole ? { ...rest, ScoreMetaData } : rest;
    const text = JSON.stringify(counts);
    let number = this.#numbered.get(text);
    if (number === undefined) {
      number = this.#counts.push(counts) - 1;
      this.#numbered.set(text, number);
    }
    if (!whole) this.#lastCounts = { metric, number };
    return number;
  }

  #addScore(score: NodeScoreMeta): number {
    const known = this.#scores.get(score);
    if (known !== undefined) return known;
    const number = this.#nodes.length;
    this.#scores.set(score, number);
    this.#nodes.push(this.numberOf(score.NodeID));
    const names = Object.keys(score.Scores);
    this.#namesOf.push(this.#addNames(names));
    this.#values.push(score.NormScore);
    let mask = 0;
    for (const [bit, name] of names.entries()) {
      const value = score.Scores[name]!;
      if (Object.is(value, 0)) continue;
      mask |= 1 << bit;
      this.#values.push(value);
    }
    this.#masks.push(mask >>> 0);
    return number;
  }

  #addNames(names: string[]): number {
    const at = this.#names.findIndex(
      (known) => known.length === names.length && known.every((name, i) => name === names[i]),
    );
    return at >= 0 ? at : this.#names.push(names) - 1;
  }
}

/** Quick test, so that the metrics of one group are compared and not spelled out. */
function sameCounts(a: AllocMetric, b: AllocMetric): boolean {
  return (
    a.NodesEvaluated === b.NodesEvaluated &&
    a.NodesFiltered === b.NodesFiltered &&
    a.NodesExhausted === b.NodesExhausted &&
    a.CoalescedFailures === b.CoalescedFailures &&
    a.NodesAvailable === b.NodesAvailable &&
    sameMap(a.ConstraintFiltered, b.ConstraintFiltered) &&
    sameMap(a.ClassFiltered, b.ClassFiltered) &&
    sameMap(a.DimensionExhausted, b.DimensionExhausted) &&
    sameMap(a.ClassExhausted, b.ClassExhausted) &&
    a.QuotaExhausted === b.QuotaExhausted &&
    a.ResourcesExhausted === b.ResourcesExhausted &&
    a.Scores === b.Scores
  );
}

function sameMap(
  a: Readonly<Record<string, number>> | null,
  b: Readonly<Record<string, number>> | null,
): boolean {
  if (a === b) return true;
  if (a === null || b === null) return false;
  let left = 0;
  for (const key in a) {
    if (a[key] !== b[key]) return false;
    left++;
  }
  for (const _ in b) left--;
  return left === 0;
}

/** Reads packed metrics back, one at a time. */
export class MetricsReader {
  readonly #packed: PackedMetrics;
  readonly #countsOf: NumberArray;
  readonly #shown: NumberArray;
  readonly #scoresOf: NumberArray;
  readonly #nodes: NumberArray;
  readonly #namesOf: NumberArray;
  readonly #masks: NumberArray;
  readonly #values: Float64Array;
  /** Where the scores of a metric, and the values of a score, begin. */
  readonly #firstScore: Uint32Array;
  readonly #firstValue: Uint32Array;

  constructor(
    packed: PackedMetrics,
    private readonly nodeId: (number: number) => string,
  ) {
    this.#packed = packed;
    const metrics = packed.times.length;
    this.#countsOf = unpackColumn(packed.countsOf, metrics);
    this.#shown = unpackColumn(packed.shown, metrics);
    this.#firstScore = new Uint32Array(metrics + 1);
    for (let i = 0; i < metrics; i++)
      this.#firstScore[i + 1] = this.#firstScore[i]! + Math.max(0, this.#shown[i]! - 1);
    this.#scoresOf = unpackColumn(packed.scoresOf, this.#firstScore[metrics]!);
    let scores = 0;
    for (const score of this.#scoresOf) scores = Math.max(scores, score + 1);
    this.#nodes = unpackColumn(packed.nodes, scores);
    this.#namesOf = unpackColumn(packed.namesOf, scores);
    this.#masks = unpackColumn(packed.masks, scores);
    this.#firstValue = new Uint32Array(scores + 1);
    for (let i = 0; i < scores; i++)
      this.#firstValue[i + 1] = this.#firstValue[i]! + 1 + bits(this.#masks[i]!);
    if (packed.values.length !== this.#firstValue[scores]! * DOUBLE)
      throw new Error(`scores of a plan have ${packed.values.length} bytes of values`);
    this.#values = new Float64Array(Uint8Array.from(packed.values).buffer);
  }

  metric(number: number): AllocMetric {
    const counts = this.#packed.counts[this.#countsOf[number]!];
    if (counts === undefined) throw new Error(`plan has no metric ${number}`);
    const shown = this.#shown[number]!;
    const metric: AllocMetric = {
      ScoreMetaData: null,
      ...structuredClone(counts),
      AllocationTime: this.#packed.times[number]!,
    };
    if (shown === 0) return metric;
    metric.ScoreMetaData = [];
    for (let i = this.#firstScore[number]!; i < this.#firstScore[number + 1]!; i++)
      metric.ScoreMetaData.push(this.#score(this.#scoresOf[i]!));
    return metric;
  }

  #score(number: number): NodeScoreMeta {
    let at = this.#firstValue[number]!;
    const mask = this.#masks[number]!;
    const NormScore = this.#values[at++]!;
    const Scores: Record<string, number> = {};
    const names = this.#packed.names[this.#namesOf[number]!] ?? [];
    for (const [bit, name] of names.entries()) Scores[name] = (mask >>> bit) & 1 ? this.#values[at++]! : 0;
    return { NodeID: this.nodeId(this.#nodes[number]!), NormScore, Scores };
  }
}

function bits(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
