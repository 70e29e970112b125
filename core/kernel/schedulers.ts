import "reflect-metadata";
import {
  Logger,
  NodeFilter,
  NodeScorer,
  type OfferedPart,
  type Plugin,
  resolveAll,
  Scheduler,
  type SchedulerModule,
  type Token,
} from "@drover/plugin-sdk";
import { ENGINE_SCORES, isPartName } from "@drover/plugin-sdk/scheduling";
import { container as globalContainer } from "tsyringe";
import { PluginError, reasonOf } from "./errors.js";
import type { LoadedPlugin } from "./loader.js";
import { checkSettings, type Locate } from "./settings.js";

const THREAD_TOKENS: ReadonlySet<Token<unknown>> = new Set<Token<unknown>>([
  Scheduler,
  NodeFilter,
  NodeScorer,
]);

/** Whether the threads of the scheduling pool load a plugin: it provides something of theirs. */
export function runsInThreads(plugin: Plugin): boolean {
  return plugin.provides.some((token) => THREAD_TOKENS.has(token));
}

/** Whether the main thread runs a plugin: it does anything but that. */
export function runsInMain(plugin: Plugin): boolean {
  return plugin.provides.length === 0 || plugin.provides.some((token) => !THREAD_TOKENS.has(token));
}

export interface CheckedScheduler {
  /** Name of the plugin. */
  readonly plugin: string;
  readonly module: SchedulerModule;
  /** Job types that it handles; empty for a plugin of filters and scorers only. */
  readonly types: readonly string[];
  readonly filters: readonly OfferedPart[];
  readonly scorers: readonly OfferedPart[];
}

/**
 * Checks a scheduler plugin before the threads load it, so that an error shows at the start of the agent and once:
 * its configuration, its `register`, and that its schedulers can be made. Throws `PluginError` or `PluginErrors`.
 */
export function checkScheduler(
  { plugin, module }: LoadedPlugin,
  config: unknown,
  log: Logger,
  locate?: Locate,
): CheckedScheduler {
  const checked = checkSettings(plugin, config, locate);
  const container = globalContainer.createChildContainer();
  container.registerInstance(Logger, log.child({ module: plugin.name }));
  try {
    plugin.register(container, checked as never);
    return {
      plugin: plugin.name,
      module: { module, config: checked },
      types: resolveAll(container, Scheduler).map(({ type }) => type),
      filters: resolveAll(container, NodeFilter).map((filter) => offered("node filter", filter)),
      scorers: resolveAll(container, NodeScorer).map((scorer) => offered("node scorer", scorer)),
    };
  } catch (error) {
    throw new PluginError(plugin.name, `plugin "${plugin.name}" failed in register: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function offered(kind: string, { name, applies = "always" }: NodeFilter | NodeScorer): OfferedPart {
  if (!isPartName(name)) {
    throw new Error(
      `its ${kind} has the name ${JSON.stringify(name)}; a name has letters, digits, ".", "_" and "-"`,
    );
  }
  if (applies !== "always" && applies !== "named")
    throw new Error(`its ${kind} "${name}" applies ${JSON.stringify(applies)}; write "always" or "named"`);
  if (kind === "node scorer" && ENGINE_SCORES.includes(name))
    throw new Error(`its ${kind} "${name}" has the name of a score that Drover writes itself`);
  return { name, applies };
}
