/** The contracts of Drover: everything a plugin needs, and nothing else of the tree. */
export * from "./contracts/index.js";
export * from "./domain/index.js";
export * from "./kernel/container.js";
export * from "./kernel/plugin.js";
export { shareSdkWithPlugins } from "./kernel/sdk-resolution.js";
export * from "./kernel/token.js";
export * from "./protocol/messages.js";
export * from "./protocol/worker.js";
