/** The agent's configuration: files, flags, defaults. */
export { DEFAULT_PORTS } from "./defaults.js";
export { enabledSchedulers } from "./enabled-schedulers.js";
export { ConfigError, type ConfigProblem } from "./errors.js";
export type { AgentFlags } from "./flags.js";
export { type LoadedConfig, type LoadOptions, loadConfig } from "./load.js";
export { lockDataDir } from "./lock.js";
export { defaultSchedulers } from "./resolve.js";
