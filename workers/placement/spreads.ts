/** `spread` blocks over rows: rows with the same values of all attributes share a combination, and so its score. */
import type { Job, NodeColumns, TaskGroup } from "@drover/plugin-sdk";
import { parseTarget, SpreadCounter } from "@drover/plugin-sdk/scheduling";

interface Rule {
  readonly counter: SpreadCounter;
  readonly codes: Uint32Array;
  readonly values: readonly (string | undefined)[];
}

export class GroupSpreads {
  /** By row: number of its combination. */
  readonly combinationOf: Uint32Array;
  /** By combination, as of the last `refresh`: the sum over the spreads. */
  readonly scores: Float64Array;
  readonly #rules: readonly Rule[];
  /** By combination: a code for each rule. */
  readonly #combinations: number[][] = [];
  #stale = true;

  /** `placed` is rows to numbers of the group's allocations. */
  constructor(
    job: Job,
    group: TaskGroup,
    columns: NodeColumns,
    rows: Int32Array,
    length: number,
    placed: ReadonlyMap<number, number>,
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
    this.combinationOf = this.#combine(rows, length);
    this.scores = new Float64Array(this.#combinations.length);
  }

  /** False when the group has no spread at all. */
  get any(): boolean {
    return this.#rules.length > 0;
  }

  add(row: number, by: number): void {
    for (const { counter, codes, values } of this.#rules) counter.add(values[codes[row]!], by);
    this.#stale = true;
  }

  /** Brings `scores` up to what was added. */
  refresh(): void {
    if (!this.#stale) return;
    this.#stale = false;
    const rules = this.#rules;
    for (let i = 0; i < this.scores.length; i++) {
      const codes = this.#combinations[i]!;
      let sum = 0;
      for (let rule = 0; rule < rules.length; rule++) {
        const { counter, values } = rules[rule]!;
        sum += counter.score(values[codes[rule]!]);
      }
      this.scores[i] = sum;
    }
  }

  /** Numbers the combinations of values; each rule splits those of the rules before it. */
  #combine(rows: Int32Array, length: number): Uint32Array {
    const combination = new Uint32Array(length);
    this.#combinations.push([]);
    for (const { codes, values } of this.#rules) {
      const before = this.#combinations.splice(0);
      const known = new Map<number, number>();
      for (let i = 0; i < rows.length; i++) {
        const row = rows[i]!;
        const code = codes[row]!;
        const pair = combination[row]! * values.length + code;
        let number = known.get(pair);
        if (number === undefined) {
          number = this.#combinations.push([...before[combination[row]!]!, code]) - 1;
          known.set(pair, number);
        }
        combination[row] = number;
      }
    }
    return combination;
  }
}
