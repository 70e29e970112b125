/** Logs and metrics of the agent. */
import type { AgentConfiguration, Logger, MetricLabels, Metrics } from "@drover/plugin-sdk";
import { AgentMetrics } from "./metrics.js";

export { type AgentLog, type LogLevel, type LogOptions, openLog } from "./logger.js";

/** The agent's metrics. Prometheus' client is loaded only where the configuration asks for it. */
export async function createMetrics(config: AgentConfiguration, log: Logger): Promise<Metrics> {
  const prometheus = config.telemetry.prometheus_metrics
    ? new (await import("./prometheus.js")).PrometheusMetrics()
    : undefined;
  const labels: MetricLabels = config.telemetry.disable_hostname ? {} : { host: config.name };
  const metrics = new AgentMetrics({ log, labels, prometheus });
  metrics.onCollect(() => {
    const { heapUsed, rss } = process.memoryUsage();
    metrics.gauge("nomad.runtime.alloc_bytes", heapUsed);
    metrics.gauge("nomad.runtime.sys_bytes", rss);
    metrics.gauge("nomad.runtime.uptime_seconds", process.uptime());
  });
  return metrics;
}
