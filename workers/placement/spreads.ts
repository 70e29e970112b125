/**
 * `spread` blocks over rows. Rows whose values stand alike have the same score: they share a standing, and a placement
 * moves the scores of standings, not of rows.
 *
 * A combination is what values a row has. Where many rows share one, it is their standing for good. Where nearly every row
 * has its own (a spread over hosts), those with as many allocations on their values share a standing instead, and rows
 * change theirs as allocations come and go.
 */
import type { Job, NodeColumns, TaskGroup } from "@drover/plugin-sdk";
import { parseTarget, SpreadCounter } from "@drover/plugin-sdk/scheduling";

import type { RowCounts } from "./row-counts.js";

interface Rule {
  readonly counter: SpreadCounter;
  readonly codes: Uint32Array;
  readonly values: readonly (string | undefined)[];
}

/** A value and the allocations on it; undefined: as many as there are. */
interface Standing {
  readonly value: string | undefined;
  readonly count: number | undefined;
}

/** Combinations with fewer rows than this, on average, don't make good standings. */
const ROWS_A_COMBINATION = 8;
const NO_STANDING = 0xffff_ffff;
const NO_ROWS: readonly number[] = [];

export class GroupSpreads {
  /** By row: number of its standing. */
  readonly standingOf: Uint32Array;
  /** By standing, as of the last `refresh`: the sum over the spreads. */
  readonly scores: number[] = [];
  readonly #rules: readonly Rule[];
  /** By standing: one for each rule. */
  readonly #standings: Standing[][] = [];
  #stale = true;
  /** Rows with a combination, and what is kept to move them; null where combinations are the standings. */
  readonly #moving: {
    readonly rows: number[][];
    /** By rule and code: the combinations that have it. */
    readonly withCode: Map<number, number[]>[];
    readonly numbers: Map<string, number>;
  } | null = null;

  /** `placed` is rows to numbers of the group's allocations. */
  constructor(
    job: Job,
    group: TaskGroup,
    columns: NodeColumns,
    rows: Int32Array,
    length: number,
    placed: RowCounts,
  ) {
    const spreads = [...(group.Spreads ?? []), ...(job.Spreads ?? [])];
    const weights = spreads.reduce((sum, spread) => sum + spread.Weight, 0);
    this.#rules = spreads.map((spread) => {
      const target = parseTarget(spread.Attribute);
      const key = "key" in target ? target.key : target.literal;
      const counter = new SpreadCounter(spread, weights, group.Count);
      return { counter, codes: columns.codes(key), values: columns.values(key) };
    });
    for (const { counter, codes, values } of this.#rules)
      for (const [row, count] of placed) counter.add(values[codes[row]!], count);
    const combinations = this.#combine(rows, length);
    if (combinations.codes.length * ROWS_A_COMBINATION <= rows.length) {
      this.standingOf = combinations.of;
      for (const codes of combinations.codes)
        this.#standings.push(
          this.#rules.map(({ values }, i) => ({ value: values[codes[i]!], count: undefined })),
        );
      return;
    }
    this.standingOf = new Uint32Array(length).fill(NO_STANDING);
    this.#moving = { rows: [], withCode: this.#rules.map(() => new Map()), numbers: new Map() };
    for (const codes of combinations.codes) {
      const combination = this.#moving.rows.push([]) - 1;
      for (const [i, code] of codes.entries()) {
        const list = this.#moving.withCode[i]!.get(code);
        if (list === undefined) this.#moving.withCode[i]!.set(code, [combination]);
        else list.push(combination);
      }
    }
    for (let i = 0; i < rows.length; i++) this.#moving.rows[combinations.of[rows[i]!]!]!.push(rows[i]!);
    for (const members of this.#moving.rows) this.#stand(members);
  }

  /** False when the group has no spread at all. */
  get any(): boolean {
    return this.#rules.length > 0;
  }

  /** Counts allocations on a row; returns the rows that have another standing now. */
  add(row: number, by: number): readonly number[] {
    if (this.#rules.length === 0) return NO_ROWS;
    for (const { counter, codes, values } of this.#rules) counter.add(values[codes[row]!], by);
    this.#stale = true;
    const moving = this.#moving;
    if (moving === null) return NO_ROWS;
    const moved: number[] = [];
    for (const [i, { codes }] of this.#rules.entries()) {
      for (const combination of moving.withCode[i]!.get(codes[row]!) ?? NO_ROWS) {
        const members = moving.rows[combination]!;
        if (!this.#stand(members)) continue;
        for (const member of members) moved.push(member);
      }
    }
    return moved;
  }

  /** Brings `scores` up to what was added. */
  refresh(): void {
    if (!this.#stale) return;
    this.#stale = false;
    const rules = this.#rules;
    for (let i = 0; i < this.#standings.length; i++) {
      const standings = this.#standings[i]!;
      let sum = 0;
      for (let rule = 0; rule < rules.length; rule++) {
        const { value, count } = standings[rule]!;
        sum += rules[rule]!.counter.score(value, count);
      }
      this.scores[i] = sum;
    }
  }

  /** Gives rows of one combination the standing that its values have now; whether it is another one. */
  #stand(members: readonly number[]): boolean {
    const sample = members[0]!;
    const standings: Standing[] = [];
    let key = "";
    for (const { counter, codes, values } of this.#rules) {
      const value = values[codes[sample]!];
      const count = counter.count(value);
      standings.push({ value, count });
      key += value === undefined ? "-," : `${count}/${counter.wanted(value)},`;
    }
    const { numbers } = this.#moving!;
    let number = numbers.get(key);
    if (number === undefined) {
      number = this.#standings.push(standings) - 1;
      numbers.set(key, number);
      this.#stale = true;
    }
    if (number === this.standingOf[sample]) return false;
    for (const row of members) this.standingOf[row] = number;
    return true;
  }

  /** Numbers the combinations of values; each rule splits those of the rules before it. */
  #combine(rows: Int32Array, length: number): { of: Uint32Array; codes: number[][] } {
    const of = new Uint32Array(length);
    let combinations: number[][] = [[]];
    for (const { codes, values } of this.#rules) {
      const before = combinations;
      const known = new Map<number, number>();
      combinations = [];
      for (let i = 0; i < rows.length; i++) {
        const row = rows[i]!;
        const code = codes[row]!;
        const pair = of[row]! * values.length + code;
        let number = known.get(pair);
        if (number === undefined) {
          number = combinations.push([...before[of[row]!]!, code]) - 1;
          known.set(pair, number);
        }
        of[row] = number;
      }
    }
    return { of, codes: combinations };
  }
}
