/** A log and metrics that say nothing, for parts under test. */
import type { Logger, Metrics } from "../contracts/index.js";

export const quietLogger: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => quietLogger,
};

export const quietMetrics: Metrics = {
  increment() {},
  gauge() {},
  sample() {},
  onCollect: () => () => {},
  toJSON: () => ({ Counters: [], Gauges: [], Points: [], Samples: [], Timestamp: "" }),
  toPrometheus: async () => "",
};
