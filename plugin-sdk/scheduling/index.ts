/** Building blocks of schedulers: fitting, ports, scores, constraints, reconciling, and a scheduler made of them. */
export * from "./binpack.js";
export * from "./candidates.js";
export * from "./constraints.js";
export * from "./fit.js";
export * from "./generic.js";
export * from "./interpolate.js";
export * from "./job-diff.js";
export * from "./metrics.js";
export * from "./names.js";
export * from "./plan.js";
export * from "./ports.js";
export * from "./random.js";
export * from "./reconcile.js";
export * from "./reconcile-types.js";
export * from "./reschedule.js";
export * from "./spread.js";
export * from "./version.js";
