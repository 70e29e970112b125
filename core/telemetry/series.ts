import type { MetricLabels } from "@drover/plugin-sdk";

/** Different label values kept a name; what comes after is counted under one series that says so. */
export const MAX_SERIES = 1000;
export const OVERFLOW_LABELS: MetricLabels = { overflow: "true" };

export interface Series<Value> {
  readonly name: string;
  readonly labels: MetricLabels;
  value: Value;
}

/** Values by name and labels, bounded a name. */
export class SeriesMap<Value> {
  readonly #names = new Map<string, Map<string, Series<Value>>>();

  constructor(
    private readonly initial: () => Value,
    private readonly onOverflow: (name: string) => void,
  ) {}

  at(name: string, labels: MetricLabels): Series<Value> {
    const ofName = this.#names.get(name) ?? new Map<string, Series<Value>>();
    this.#names.set(name, ofName);
    const key = labelKey(labels);
    const known = ofName.get(key);
    if (known !== undefined) return known;
    if (ofName.size >= MAX_SERIES && labels !== OVERFLOW_LABELS) {
      this.onOverflow(name);
      return this.at(name, OVERFLOW_LABELS);
    }
    const series = { name, labels: { ...labels }, value: this.initial() };
    ofName.set(key, series);
    return series;
  }

  /** In order of name. */
  *all(): Iterable<Series<Value>> {
    for (const name of [...this.#names.keys()].sort()) yield* this.#names.get(name)!.values();
  }
}

function labelKey(labels: MetricLabels): string {
  const names = Object.keys(labels);
  if (names.length === 0) return "";
  return JSON.stringify(names.sort().map((name) => [name, labels[name]]));
}
