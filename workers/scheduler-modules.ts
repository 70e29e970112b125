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

/** Something with the name of the plugin that brought it. */
export interface Plugged<T> {
  readonly plugin: string;
  readonly part: T;
}

export interface PluggedScheduler extends Plugged<Scheduler> {
  /** Whether it ships with Drover. */
  readonly builtIn: boolean;
}

export interface LoadedSchedulers {
  /** By job type. */
  readonly schedulers: ReadonlyMap<string, PluggedScheduler>;
  /** By name. */
  readonly filters: ReadonlyMap<string, Plugged<NodeFilter>>;
  readonly scorers: ReadonlyMap<string, Plugged<NodeScorer>>;
}

/** Loads the modules in order. Throws an error that names the module which is no plugin, or the type that two handle. */
export async function loadSchedulers(
  modules: readonly SchedulerModule[],
  log: Logger,
): Promise<LoadedSchedulers> {
  const root = container.createChildContainer();
  root.registerInstance<Logger>(Logger, log);
  const schedulers = new Map<string, PluggedScheduler>();
  const filters = new Map<string, Plugged<NodeFilter>>();
  const scorers = new Map<string, Plugged<NodeScorer>>();
  for (const { module, config } of modules) {
    const builtIn = module.startsWith(BUILT_IN);
    if (!builtIn) shareSdkWithPlugins();
    const plugin = ((await import(module)) as { default?: unknown }).default;
    if (!isPlugin(plugin))
      throw new Error(`${module} has no plugin as its default export (see definePlugin)`);
    const own = root.createChildContainer();
    own.registerInstance<Logger>(Logger, log.child({ plugin: plugin.name }));
    plugin.register(own, plugin.config.parse(config ?? {}));
    const add = <T>(what: string, map: Map<string, Plugged<T>>, key: string, part: T): void => {
      const other = map.get(key);
      if (other !== undefined) throw new Error(`plugins ${other.plugin} and ${plugin.name} both ${what}`);
      map.set(key, { plugin: plugin.name, part, builtIn } as Plugged<T>);
    };
    for (const scheduler of all<Scheduler>(own, Scheduler))
      add(`schedule jobs of type "${scheduler.type}"`, schedulers, scheduler.type, scheduler);
    for (const filter of all<NodeFilter>(own, NodeFilter))
      add(`bring a node filter "${filter.name}"`, filters, filter.name, filter);
    for (const scorer of all<NodeScorer>(own, NodeScorer))
      add(`bring a node scorer "${scorer.name}"`, scorers, scorer.name, scorer);
  }
  return { schedulers, filters, scorers };
}

function all<T>(own: DependencyContainer, token: symbol): T[] {
  return own.isRegistered(token) ? own.resolveAll<T>(token) : [];
}
