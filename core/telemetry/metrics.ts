import type { Logger, MetricLabels, MetricSample, Metrics, MetricsSummary } from "@drover/plugin-sdk";
import type { PrometheusMetrics } from "./prometheus.js";
import { type Series, SeriesMap } from "./series.js";

/** Length of an aggregation interval, milliseconds; Nomad's own. */
const INTERVAL = 10_000;

interface Aggregate {
  count: number;
  sum: number;
  sumOfSquares: number;
  min: number;
  max: number;
}

/** What was recorded in one interval. */
interface Interval {
  /** Number of the interval since the Unix epoch. */
  readonly slot: number;
  readonly counters: SeriesMap<Aggregate>;
  readonly gauges: SeriesMap<number>;
  readonly samples: SeriesMap<Aggregate>;
}

export interface MetricsOptions {
  readonly log: Logger;
  /** Labels that every series has; Nomad gives `host`. */
  readonly labels: MetricLabels;
  /** Present where the operator asked for Prometheus' format. */
  readonly prometheus: PrometheusMetrics | undefined;
  /** Milliseconds since the Unix epoch; for tests. */
  readonly now?: () => number;
}

/**
 * Metrics in memory. Counters and samples are aggregated over intervals of ten seconds, and the last whole interval is
 * what `toJSON` shows; gauges are shown as last set (https://developer.hashicorp.com/nomad/api-docs/metrics).
 */
export class AgentMetrics implements Metrics {
  readonly #readers = new Set<() => void>();
  readonly #overflowed = new Set<string>();
  readonly #now: () => number;
  #current: Interval;
  #last: Interval | undefined;

  constructor(private readonly options: MetricsOptions) {
    this.#now = options.now ?? Date.now;
    this.#current = this.#interval(this.#slot());
  }

  increment(name: string, by = 1, labels: MetricLabels = {}): void {
    const all = this.#labels(labels);
    add(this.#roll().counters.at(name, all).value, by);
    this.options.prometheus?.increment(name, by, all);
  }

  gauge(name: string, value: number, labels: MetricLabels = {}): void {
    const all = this.#labels(labels);
    this.#roll().gauges.at(name, all).value = value;
    this.options.prometheus?.gauge(name, value, all);
  }

  sample(name: string, value: number, labels: MetricLabels = {}): void {
    const all = this.#labels(labels);
    add(this.#roll().samples.at(name, all).value, value);
    this.options.prometheus?.sample(name, value, all);
  }

  onCollect(read: () => void): () => void {
    this.#readers.add(read);
    return () => void this.#readers.delete(read);
  }

  toJSON(): MetricsSummary {
    this.#collect();
    const current = this.#roll();
    const shown = this.#last ?? current;
    return {
      Counters: [...shown.counters.all()].map(summary),
      Gauges: this.#gauges(current),
      Points: [],
      Samples: [...shown.samples.all()].map(summary),
      Timestamp: timestamp(shown.slot * INTERVAL),
    };
  }

  async toPrometheus(): Promise<string> {
    const { prometheus } = this.options;
    if (prometheus === undefined) throw new Error("Prometheus is not enabled");
    this.#collect();
    return prometheus.text();
  }

  #collect(): void {
    for (const read of this.#readers) {
      try {
        read();
      } catch (error) {
        this.options.log.warn({ error }, "a metrics reader failed");
      }
    }
  }

  /** Those set in this interval, and of the last one those that were not set again. */
  #gauges(current: Interval): MetricsSummary["Gauges"] {
    const latest = new SeriesMap<number>(
      () => 0,
      () => undefined,
    );
    for (const interval of [this.#last, current]) {
      for (const { name, labels, value } of interval?.gauges.all() ?? [])
        latest.at(name, labels).value = value;
    }
    return [...latest.all()].map(({ name, labels, value }) => ({ Labels: labels, Name: name, Value: value }));
  }

  #labels(labels: MetricLabels): MetricLabels {
    return { ...labels, ...this.options.labels };
  }

  /** The interval of now; an older one becomes the last when it is the one right before. */
  #roll(): Interval {
    const slot = this.#slot();
    if (slot !== this.#current.slot) {
      this.#last = slot === this.#current.slot + 1 ? this.#current : this.#interval(slot - 1);
      this.#current = this.#interval(slot);
    }
    return this.#current;
  }

  #slot(): number {
    return Math.floor(this.#now() / INTERVAL);
  }

  #interval(slot: number): Interval {
    const overflow = (name: string): void => this.#overflow(name);
    return {
      slot,
      counters: new SeriesMap(emptyAggregate, overflow),
      gauges: new SeriesMap(() => 0, overflow),
      samples: new SeriesMap(emptyAggregate, overflow),
    };
  }

  #overflow(name: string): void {
    if (this.#overflowed.has(name)) return;
    this.#overflowed.add(name);
    this.options.log.warn({ metric: name }, "metric has too many label values; the rest is counted together");
  }
}

function emptyAggregate(): Aggregate {
  return { count: 0, sum: 0, sumOfSquares: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY };
}

function add(to: Aggregate, value: number): void {
  to.count++;
  to.sum += value;
  to.sumOfSquares += value * value;
  to.min = Math.min(to.min, value);
  to.max = Math.max(to.max, value);
}

function summary({ name, labels, value }: Series<Aggregate>): MetricSample {
  const { count, sum, sumOfSquares, min, max } = value;
  const spread = count > 1 ? (count * sumOfSquares - sum * sum) / (count * (count - 1)) : 0;
  return {
    Count: count,
    Labels: labels,
    Max: max,
    Mean: sum / count,
    Min: min,
    Name: name,
    Rate: sum / (INTERVAL / 1000),
    // Rounding can take the difference of two equal numbers below zero.
    Stddev: Math.sqrt(Math.max(0, spread)),
    Sum: sum,
  };
}

/** `2026-11-23 14:49:20 +0000 UTC` */
function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ")} +0000 UTC`;
}
