import "reflect-metadata";
import { isDeepStrictEqual } from "node:util";
import { Logger, type Plugin, type PluginContext, type Token, tokenInfo } from "@drover/plugin-sdk";
import { type DependencyContainer, container as globalContainer } from "tsyringe";
import { PluginBinding } from "./binding.js";
import { builtinPlugins } from "./builtin.js";
import { withDeadline } from "./deadline.js";
import { PluginError, PluginErrors, reasonOf } from "./errors.js";
import { orderPlugins } from "./order.js";
import { checkSettings, type Locate } from "./settings.js";

export interface KernelOptions {
  readonly log: Logger;
  /** Told once, when a running plugin can't go on. The host stops the kernel and ends with a non-zero code. */
  onFatal(error: PluginError): void;
}

/** A plugin that was added, with everything it has while it runs. */
interface Entry {
  readonly plugin: Plugin;
  readonly locate: Locate;
  config: unknown;
  binding?: PluginBinding;
  context?: PluginContext<unknown>;
  abort?: AbortController;
}

export interface ReloadResult {
  readonly reloaded: readonly string[];
  /** Plugins whose configuration changed but that can only take it at the next start. */
  readonly needRestart: readonly string[];
}

type State = "new" | "starting" | "running" | "stopping" | "stopped";

/**
 * Runs plugins: one container a kernel, a child a plugin; starts them in the order of what they require and provide,
 * stops them in reverse, each with its deadline. A kernel runs once.
 */
export class Kernel {
  readonly #root: DependencyContainer = globalContainer.createChildContainer();
  readonly #bound = new Set<Token<unknown>>();
  readonly #entries = new Map<string, Entry>();
  /** Entries whose `start` was called, in that order. */
  readonly #started: Entry[] = [];
  #state: State = "new";
  #fatal: PluginError | undefined;
  /** Rejects the wait for the plugin that is starting. */
  #wake: ((error: Error) => void) | undefined;
  #stopping: Promise<void> | undefined;

  readonly #log: Logger;

  constructor(private readonly options: KernelOptions) {
    this.#log = options.log.child({ module: "kernel" });
    this.bind(Logger, options.log);
  }

  /** Names of the plugins, in the order they started in. */
  get started(): readonly string[] {
    return this.#started.map(({ plugin }) => plugin.name);
  }

  /** Binds a service of the host. Before `start`. */
  bind<T>(token: Token<T>, value: T): void {
    this.#mustBeNew("bind a service");
    this.#bound.add(token);
    this.#root.registerInstance(token, value);
  }

  /**
   * Adds a plugin, or a component of the core that is shaped like one. `config` is the operator's block as written;
   * `locate` tells where. Throws `PluginErrors` where the plugin's schema refuses it. Before `start`.
   */
  add(plugin: Plugin, config: unknown = {}, locate: Locate = () => undefined): void {
    this.#mustBeNew("add a plugin");
    if (this.#entries.has(plugin.name)) {
      throw new PluginErrors([new PluginError(plugin.name, `plugin "${plugin.name}" is loaded twice`)]);
    }
    this.#entries.set(plugin.name, { plugin, locate, config: checkSettings(plugin, config, locate) });
  }

  /** What a token resolves to, for the host. Throws an Error where nothing provides it. */
  resolve<T>(token: Token<T>): T {
    return this.#root.resolve<T>(token);
  }

  /**
   * Orders, registers and starts everything. When one fails, those that started are stopped again, and the error is
   * thrown (`PluginErrors` before anything started, else `PluginError`).
   */
  async start(): Promise<void> {
    this.#mustBeNew("start");
    const plugins = [...this.#entries.values()].map(({ plugin }) => plugin);
    const ordered = orderPlugins(plugins, { bound: this.#bound, knownProviders });
    this.#state = "starting";
    try {
      for (const { name } of ordered) this.#register(this.#entries.get(name)!);
      for (const { name } of ordered) await this.#startOne(this.#entries.get(name)!);
      this.#mustBeStarting();
    } catch (error) {
      await this.stop().catch((failure: unknown) => {
        this.#log.error({ error: reasonOf(failure) }, "stopping after a failed start");
      });
      throw error;
    }
    this.#state = "running";
  }

  /** Stops in reverse order. Goes on past failures and throws them all, as `PluginErrors`, at the end. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  /**
   * Checks changed `config` blocks by plugin name (plugins not named keep theirs), and gives what applies them. Throws
   * `PluginErrors` with everything that is wrong.
   */
  async prepareReload(
    configs: ReadonlyMap<string, { config: unknown; locate?: Locate }>,
  ): Promise<() => Promise<ReloadResult>> {
    if (this.#state !== "running") throw new Error(`a kernel that is ${this.#state} can't reload`);
    const changes = this.#changes(configs);
    return () => this.#apply(changes);
  }

  /** As `prepareReload`, applied at once. */
  async reload(configs: ReadonlyMap<string, { config: unknown; locate?: Locate }>): Promise<ReloadResult> {
    const apply = await this.prepareReload(configs);
    return apply();
  }

  /** All of them, or none: where one fails, those before it get their former configuration back. */
  async #apply(changes: readonly [Entry, unknown][]): Promise<ReloadResult> {
    const reloaded: [entry: Entry, former: unknown][] = [];
    const needRestart: string[] = [];
    for (const [entry, config] of changes) {
      if (entry.plugin.reload === undefined) {
        needRestart.push(entry.plugin.name);
        continue;
      }
      const former = entry.config;
      try {
        await this.#reloadOne(entry, config);
        reloaded.push([entry, former]);
      } catch (error) {
        const errors = [error as PluginError];
        for (const [done, before] of reloaded.reverse()) {
          await this.#reloadOne(done, before).catch((again: PluginError) => void errors.push(again));
        }
        throw new PluginErrors(errors);
      }
    }
    return { reloaded: reloaded.map(([{ plugin }]) => plugin.name), needRestart };
  }

  async #reloadOne(entry: Entry, config: unknown): Promise<void> {
    const { plugin } = entry;
    try {
      await withDeadline(plugin.startTimeout, "reload", () =>
        plugin.reload!(config as never, entry.context as never),
      );
      entry.config = config;
    } catch (error) {
      throw this.#failed(plugin, "reload", error);
    }
  }

  #changes(configs: ReadonlyMap<string, { config: unknown; locate?: Locate }>): [Entry, unknown][] {
    const changes: [Entry, unknown][] = [];
    const errors: PluginError[] = [];
    for (const [name, { config, locate }] of configs) {
      const entry = this.#entries.get(name);
      if (entry === undefined) continue;
      try {
        const checked = checkSettings(entry.plugin, config, locate ?? entry.locate);
        if (!isDeepStrictEqual(checked, entry.config)) changes.push([entry, checked]);
      } catch (error) {
        if (!(error instanceof PluginErrors)) throw error;
        errors.push(...error.errors);
      }
    }
    if (errors.length > 0) throw new PluginErrors(errors);
    return changes;
  }

  #register(entry: Entry): void {
    const { plugin, config } = entry;
    entry.binding = new PluginBinding(this.#root, plugin);
    const log = this.options.log.child({ module: plugin.name });
    entry.binding.container.registerInstance(Logger, log);
    entry.binding.register(config);
    entry.abort = new AbortController();
    entry.context = {
      name: plugin.name,
      get config() {
        return entry.config;
      },
      container: entry.binding.container,
      log,
      signal: entry.abort.signal,
      fatal: (error) => this.#reportFatal(plugin, error),
    };
  }

  async #startOne(entry: Entry): Promise<void> {
    const { plugin } = entry;
    this.#mustBeStarting();
    this.#started.push(entry);
    const begin = performance.now();
    const died = new Promise<never>((_resolve, reject) => {
      this.#wake = reject;
    });
    try {
      const work = withDeadline(plugin.startTimeout, "start", () => plugin.start?.(entry.context as never));
      await Promise.race([work, died]);
    } catch (error) {
      entry.abort!.abort(error);
      throw error === this.#fatal ? error : this.#failed(plugin, "start", error);
    } finally {
      this.#wake = undefined;
    }
    this.#log.debug({ plugin: plugin.name, ms: Math.round(performance.now() - begin) }, "plugin started");
  }

  async #stopAll(): Promise<void> {
    this.#state = "stopping";
    this.#wake?.(new Error("the agent is shutting down"));
    const errors: PluginError[] = [];
    for (const entry of [...this.#started].reverse()) {
      const { plugin } = entry;
      entry.abort!.abort(new Error("the agent is shutting down"));
      try {
        await withDeadline(plugin.stopTimeout, "stop", () => plugin.stop?.(entry.context as never));
        this.#log.debug({ plugin: plugin.name }, "plugin stopped");
      } catch (error) {
        errors.push(this.#failed(plugin, "stop", error));
      }
    }
    this.#state = "stopped";
    if (errors.length > 0) throw new PluginErrors(errors);
  }

  #reportFatal(plugin: Plugin, error: Error): void {
    if (this.#fatal !== undefined || this.#state === "stopping" || this.#state === "stopped") {
      this.#log.error(
        { plugin: plugin.name, error: reasonOf(error) },
        "plugin failed while the agent was going down",
      );
      return;
    }
    this.#fatal = new PluginError(plugin.name, `plugin "${plugin.name}" can't go on: ${reasonOf(error)}`, {
      cause: error,
    });
    if (this.#state === "starting") this.#wake?.(this.#fatal);
    else this.options.onFatal(this.#fatal);
  }

  #failed(plugin: Plugin, step: string, error: unknown): PluginError {
    return new PluginError(plugin.name, `plugin "${plugin.name}" failed in ${step}: ${reasonOf(error)}`, {
      cause: error,
    });
  }

  /** A plugin may report that it can't go on, or the host stop everything, between two starts. */
  #mustBeStarting(): void {
    if (this.#fatal !== undefined) throw this.#fatal;
    if (this.#state !== "starting") throw new Error("the agent was stopped while it started");
  }

  #mustBeNew(what: string): void {
    if (this.#state !== "new") throw new Error(`a kernel that is ${this.#state} can't ${what}`);
  }
}

function knownProviders(token: Token<unknown>): string[] {
  const { name } = tokenInfo(token);
  return builtinPlugins.filter(({ provides }) => provides.includes(name)).map((plugin) => plugin.name);
}
