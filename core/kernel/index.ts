/** The kernel: loads plugins, orders them, starts and stops them. */
export { builtinPlugins, findBuiltin, isBuiltinModule } from "./builtin.js";
export { PluginError, PluginErrors, reasonOf } from "./errors.js";
export { Kernel, type KernelOptions, type ReloadResult } from "./kernel.js";
export { type LoadedPlugin, type LoaderOptions, loadPlugin } from "./loader.js";
export { type CheckedScheduler, checkScheduler, runsInMain, runsInThreads } from "./schedulers.js";
export type { Locate } from "./settings.js";
export { withoutSuperfluous } from "./yielding.js";
