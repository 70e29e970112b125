/** The replicated state: its store, the machine that applies commands to it, and the commands' encoding. */
export {
  commandName,
  decodeCommand,
  encodeCommand,
  UnknownCommandError,
} from "./codec.js";
export type { NodeUsage } from "./columns.js";
export { type JobRegistered, registeredJob, sameSpecification } from "./commands/jobs.js";
export { computedClass } from "./commands/nodes.js";
export { PLUGIN_KEY_LIMIT, PLUGIN_ROW_LIMIT } from "./commands/plugin-rows.js";
export * from "./commands.js";
export { type AppliedListener, StateFsm } from "./fsm.js";
export { PlanBlock } from "./read/plan-block.js";
export {
  type AllocationStop,
  COMMAND_CODEC_VERSION,
  encodePlanCommand,
  type PlanCommand,
  stopOf,
} from "./read/plan-command.js";
export { type AgentKeyRow, type JoinTokenRow, SCHEMA_VERSION } from "./read/schema.js";
export { CommandRefused } from "./refusal.js";
export { checkSnapshot, SNAPSHOT_FILES } from "./snapshot-folder.js";
export { StateStore, type StateStoreOptions } from "./store.js";
export { WaitTimeoutError } from "./watchers.js";
