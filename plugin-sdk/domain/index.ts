/** The domain: Nomad's API objects as types, their constants and the predicates on them. */
export * from "./acl.js";
export * from "./allocation.js";
export * from "./deployment.js";
export * from "./diff.js";
export * from "./evaluation.js";
export * from "./ids.js";
export * from "./job.js";
export * from "./node.js";
export * from "./operator.js";
export * from "./plan.js";
export * from "./policies.js";
export * from "./requests.js";
export * from "./resources.js";
export * from "./service.js";
export * from "./stats.js";
export * from "./task.js";
export * from "./task-event.js";
