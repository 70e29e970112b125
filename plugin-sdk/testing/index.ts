export * from "./agent-transport.js";
export * from "./consensus.js";
export * from "./memory-state.js";
export * from "./scan-placer.js";
export * from "./scheduler.js";
export * from "./scheduler-fixtures.js";
export * from "./task-driver.js";
