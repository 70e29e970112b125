import type { MetricLabels } from "@drover/plugin-sdk";
import { Counter, Gauge, Registry, Summary } from "prom-client";
import { MAX_SERIES, OVERFLOW_LABELS } from "./series.js";

/** A gauge that nobody set for this long is no longer true, milliseconds. */
const EXPIRY = 60_000;
const QUANTILES = [0.5, 0.9, 0.99];
/** Window of the quantiles, seconds. */
const WINDOW = 60;

type Kind = "counter" | "gauge" | "summary";

interface Family {
  readonly kind: Kind;
  readonly labelNames: readonly string[];
  readonly metric: Counter | Gauge | Summary;
  /** When each series was last set. */
  readonly seen: Map<string, { readonly labels: MetricLabels; at: number }>;
}

/** The same metrics in Prometheus' text exposition; names as Nomad writes them (`nomad_raft_apply`). */
export class PrometheusMetrics {
  readonly #registry = new Registry();
  readonly #families = new Map<string, Family>();

  increment(name: string, by: number, labels: MetricLabels): void {
    const { metric, labels: own } = this.#series("counter", name, labels);
    (metric as Counter).inc(own, by);
  }

  gauge(name: string, value: number, labels: MetricLabels): void {
    const { metric, labels: own } = this.#series("gauge", name, labels);
    (metric as Gauge).set(own, value);
  }

  sample(name: string, value: number, labels: MetricLabels): void {
    const { metric, labels: own } = this.#series("summary", name, labels);
    (metric as Summary).observe(own, value);
  }

  text(): Promise<string> {
    this.#expire(Date.now());
    return this.#registry.metrics();
  }

  #series(kind: Kind, name: string, given: MetricLabels): { metric: Family["metric"]; labels: MetricLabels } {
    const labels = Object.fromEntries(Object.entries(given).map(([key, value]) => [clean(key), value]));
    const family = this.#family(kind, clean(name), Object.keys(labels));
    const key = JSON.stringify(family.labelNames.map((label) => labels[label]));
    const known = family.seen.get(key);
    if (known !== undefined) {
      known.at = Date.now();
      return { metric: family.metric, labels: known.labels };
    }
    if (family.seen.size >= MAX_SERIES && given !== OVERFLOW_LABELS)
      return this.#series(kind, name, OVERFLOW_LABELS);
    family.seen.set(key, { labels, at: Date.now() });
    return { metric: family.metric, labels };
  }

  /** The client wants to know all label names at the start; one that comes later makes the family anew. */
  #family(kind: Kind, name: string, labelNames: readonly string[]): Family {
    const known = this.#families.get(name);
    if (known?.kind === kind && labelNames.every((label) => known.labelNames.includes(label))) return known;
    if (known !== undefined) this.#registry.removeSingleMetric(name);
    const all = [...new Set([...(known?.labelNames ?? []), ...labelNames])];
    const family: Family = { kind, labelNames: all, metric: this.#make(kind, name, all), seen: new Map() };
    this.#families.set(name, family);
    return family;
  }

  #make(kind: Kind, name: string, labelNames: string[]): Family["metric"] {
    const common = { name, help: name, labelNames, registers: [this.#registry] };
    if (kind === "counter") return new Counter(common);
    if (kind === "gauge") return new Gauge(common);
    return new Summary({
      ...common,
      percentiles: QUANTILES,
      maxAgeSeconds: WINDOW,
      ageBuckets: 5,
      pruneAgedBuckets: true,
    });
  }

  #expire(now: number): void {
    for (const { kind, metric, seen } of this.#families.values()) {
      if (kind !== "gauge") continue;
      for (const [key, { labels, at }] of seen) {
        if (now - at < EXPIRY) continue;
        metric.remove(labels);
        seen.delete(key);
      }
    }
  }
}

function clean(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/g, "_").replace(/^(\d)/, "_$1");
}
