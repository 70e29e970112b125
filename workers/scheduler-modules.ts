/** The scheduler plugins of a thread: imported and registered here again, because instances don't cross threads. */
import {
  isPlugin,
  Logger,
  NodeFilter,
  NodeScorer,
  Scheduler,
  type SchedulerModule,
  shareSdkWithPlugins,
} from "@drover/plugin-sdk";
import { container, type DependencyContainer } from "tsyringe";

/** Where the built-ins are; a plugin from elsewhere may need this thread to find the SDK for it. */
const BUILT_IN = new URL("../plugins/", import.meta.url).href;

export interface LoadedSchedulers {
  /** By job type. */
  readonly schedulers: ReadonlyMap<string, Scheduler>;
  readonly filters: readonly NodeFilter[];
  readonly scorers: readonly NodeScorer[];
}

/** Loads the modules in order. Throws an error that names the module which is no plugin, or the type that two handle. */
export async function loadSchedulers(
  modules: readonly SchedulerModule[],
  log: Logger,
): Promise<LoadedSchedulers> {
  const root = container.createChildContainer();
  root.registerInstance<Logger>(Logger, log);
  const schedulers = new Map<string, Scheduler>();
  const owners = new Map<string, string>();
  const filters: NodeFilter[] = [];
  const scorers: NodeScorer[] = [];
  for (const { module, config } of modules) {
    if (!module.startsWith(BUILT_IN)) shareSdkWithPlugins();
    const plugin = ((await import(module)) as { default?: unknown }).default;
    if (!isPlugin(plugin))
      throw new Error(`${module} has no plugin as its default export (see definePlugin)`);
    const own = root.createChildContainer();
    own.registerInstance<Logger>(Logger, log.child({ plugin: plugin.name }));
    plugin.register(own, plugin.config.parse(config ?? {}));
    for (const scheduler of all<Scheduler>(own, Scheduler)) {
      const owner = owners.get(scheduler.type);
      if (owner !== undefined) {
        throw new Error(`plugins ${owner} and ${plugin.name} both schedule jobs of type "${scheduler.type}"`);
      }
      owners.set(scheduler.type, plugin.name);
      schedulers.set(scheduler.type, scheduler);
    }
    filters.push(...all<NodeFilter>(own, NodeFilter));
    scorers.push(...all<NodeScorer>(own, NodeScorer));
  }
  return { schedulers, filters, scorers };
}

function all<T>(own: DependencyContainer, token: symbol): T[] {
  return own.isRegistered(token) ? own.resolveAll<T>(token) : [];
}
