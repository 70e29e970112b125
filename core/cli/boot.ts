import { rm } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { AgentInfo, AgentTls, Metrics } from "@drover/plugin-sdk";
import {
  ConfigError,
  enabledSchedulers,
  type LoadedConfig,
  type LoadOptions,
  loadConfig,
  lockDataDir,
} from "../config/index.js";
import {
  builtinPlugins,
  type CheckedScheduler,
  checkScheduler,
  Kernel,
  type LoadedPlugin,
  type Locate,
  loadPlugin,
  PluginError,
  PluginErrors,
  reasonOf,
  runsInMain,
  runsInThreads,
  withoutSuperfluous,
} from "../kernel/index.js";
import type { ServerComponent } from "../server/index.js";
import { type AgentLog, createMetrics, openLog } from "../telemetry/index.js";
import { LoadedTls } from "../tls/index.js";
import { droverVersion } from "./version.js";

export interface BootOptions extends LoadOptions {
  /** Whether the log goes to the standard output, and is held back there until the caller releases it. */
  readonly logToStdout: boolean;
  /** Told once when a plugin can't go on; the caller must stop the agent. */
  onFatal(error: Error): void;
}

/** An agent: configured, not yet started. */
export interface Agent {
  readonly info: AgentInfo;
  readonly log: AgentLog;
  /** Set where the data folder goes away with the agent. */
  readonly temporaryDir: string | undefined;
  /** Starts everything; what started is stopped again where something fails. */
  start(): Promise<void>;
  /** Has a running server leave its cluster for good, before it stops: bounded, and what fails is logged. */
  leave(): Promise<void>;
  /** Stops everything; throws what failed on the way, after the rest stopped. Call it also after a failed `start`. */
  stop(): Promise<void>;
  /** Reads the files again and applies what can change while running. Throws and changes nothing where they are wrong. */
  reload(): Promise<void>;
}

interface Chosen {
  readonly loaded: LoadedPlugin;
  readonly config: Readonly<Record<string, unknown>>;
  readonly locate: Locate;
}

/**
 * Reads the configuration, opens log and data folder, and loads the plugins. Throws `ConfigError`, `PluginError` or
 * `PluginErrors`; whatever was opened is closed then.
 */
export async function boot(options: BootOptions): Promise<Agent> {
  const loaded = await loadConfig(options);
  const cleanup: (() => unknown)[] = [];
  if (loaded.temporaryDir !== undefined) {
    const folder = loaded.temporaryDir;
    cleanup.push(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  }
  const cleanUp = async (): Promise<void> => {
    for (const step of cleanup.splice(0).reverse()) await step();
  };
  try {
    cleanup.push(await lockDataDir(loaded.config.data_dir));
    const log = openLog({
      level: loaded.config.log_level,
      json: loaded.config.log_json,
      stdout: options.logToStdout,
      held: true,
      file: loaded.config.log_file,
    });
    cleanup.push(() => log.close());
    return await assemble(options, loaded, log, cleanUp);
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

async function assemble(
  options: BootOptions,
  loaded: LoadedConfig,
  log: AgentLog,
  cleanUp: () => Promise<void>,
): Promise<Agent> {
  const { config } = loaded;
  const info: AgentInfo = {
    nodeName: config.name,
    region: config.region,
    datacenter: config.datacenter,
    version: droverVersion(),
    devMode: options.dev,
    dataDir: config.data_dir,
    serverEnabled: config.server.enabled,
    clientEnabled: config.client.enabled,
    config,
    selfConfig: loaded.selfConfig,
    advertise: config.advertise,
  };
  const logger = log.logger.child({ module: "agent" });
  warnOfUnused(loaded, (message, keys) => logger.warn({ keys: keys.join(",") }, message));

  const kernel = new Kernel({ log: log.logger, onFatal: options.onFatal });
  kernel.bind(AgentInfo, info);
  const tls = await LoadedTls.load(config.tls, { region: config.region, server: config.server.enabled });
  kernel.bind(AgentTls, tls);
  kernel.bind(Metrics, await createMetrics(config, logger));

  const chosen = await choosePlugins(loaded);
  // First, so that among those that don't depend on each other the server is up before the client that calls it.
  let component: ServerComponent | undefined;
  if (config.server.enabled) {
    const { networkComponent } = await import("../rpc/network/index.js");
    kernel.add(networkComponent());
    component = await server(chosen, loaded, log);
    kernel.add(component.plugin);
  }
  for (const { loaded: one, config: block, locate } of chosen) {
    if (runsInMain(one.plugin)) kernel.add(one.plugin, block, locate);
  }

  let current = loaded;
  return {
    info,
    log,
    temporaryDir: loaded.temporaryDir,
    start: () => kernel.start(),
    leave: async () => component?.leave(),
    async stop() {
      try {
        await kernel.stop();
      } finally {
        await cleanUp();
      }
    },
    async reload() {
      log.reopen();
      const next = await loadConfig({ ...options, dataDir: config.data_dir });
      const blocks = Object.entries(next.config.plugins).map(
        ([name, block]) => [name, { config: block.config, locate: locateIn(next, name) }] as const,
      );
      // Everything is looked at before anything is put in force, so that one error of several leaves all as it was.
      const [certificates, plugins] = await Promise.allSettled([
        tls.prepare(next.config.tls),
        kernel.prepareReload(new Map(blocks)),
      ]);
      const errors = [certificates, plugins].flatMap((one) =>
        one.status === "rejected" ? [one.reason] : [],
      );
      if (certificates.status === "rejected" || plugins.status === "rejected") {
        throw errors.length === 1 ? errors[0] : new Error(errors.map(reasonOf).join("\n"));
      }
      const { reloaded, needRestart } = await plugins.value();
      certificates.value?.();
      log.setLevel(next.config.log_level);
      logger.info(
        {
          log_level: next.config.log_level,
          plugins: reloaded,
          certificates: certificates.value !== undefined,
        },
        "configuration reloaded",
      );
      if (needRestart.length > 0 || !isDeepStrictEqual(fixedPart(current), fixedPart(next))) {
        logger.warn(
          { plugins: needRestart },
          "some changes of the configuration take effect at the next start only",
        );
      }
      current = next;
    },
  };
}

/** What of the configuration can't change while the agent runs. */
function fixedPart({ config }: LoadedConfig): object {
  const { plugins, log_level, files, tls, ...rest } = config;
  const present = Object.entries(plugins).map(([name, { enabled, source }]) => [name, enabled, source]);
  // Whether the HTTP API's port speaks TLS is decided when it begins to listen.
  return { ...rest, present, tls: [tls.http, tls.http && tls.verify_https_client] };
}

/** Built-ins of the agent's roles and those of the `plugin` blocks, without those switched off; loaded. */
async function choosePlugins(loaded: LoadedConfig): Promise<Chosen[]> {
  const { config, settings } = loaded;
  const roles = [config.server.enabled ? "server" : "", config.client.enabled ? "client" : ""];
  const names = new Set([
    ...builtinPlugins
      .filter((plugin) => plugin.roles.some((role) => roles.includes(role)))
      .map(({ name }) => name),
    ...Object.keys(config.plugins),
  ]);
  const wanted = [...names].filter((name) => config.plugins[name]?.enabled !== false);
  const results = await Promise.allSettled(
    wanted.map(async (name): Promise<Chosen> => {
      const block = config.plugins[name];
      const one = await loadPlugin(name, block?.source, {
        packageRoots: [process.cwd(), config.data_dir, ...(settings.plugin_dir ? [settings.plugin_dir] : [])],
        ...(settings.plugin_trust?.publishers === undefined
          ? {}
          : { publishers: settings.plugin_trust.publishers }),
      });
      return { loaded: one, config: block?.config ?? {}, locate: locateIn(loaded, name) };
    }),
  );
  const named = (name: string) => config.plugins[name] !== undefined;
  const all = settled(results).map((one) => ({ ...one, plugin: one.loaded.plugin }));
  return withoutSuperfluous(all, named);
}

/** The core's own server, as a component between the plugins that it needs and those that need it. */
async function server(
  chosen: readonly Chosen[],
  loaded: LoadedConfig,
  log: AgentLog,
): Promise<ServerComponent> {
  const checked = chosen
    .filter(({ loaded: one }) => runsInThreads(one.plugin))
    .map(
      ({ loaded: one, config: block, locate }): CheckedScheduler =>
        checkScheduler(one, block, log.logger, locate),
    );
  const types = enabledSchedulers(loaded, [...new Set(checked.flatMap(({ types }) => types))]);
  const { SchedulerCatalog, serverComponent } = await import("../server/index.js");
  const schedulers = new SchedulerCatalog(checked, loaded.config.schedulers);
  const problems = schedulers.ruleProblems(loaded.config.server.eval_nack_timeout);
  if (problems.length > 0) {
    throw new ConfigError(
      problems.map(({ path, value, message }) => ({
        place:
          loaded.locate(path, (found) =>
            value === undefined ? found !== undefined : Array.isArray(found) && found.includes(value),
          ) ?? "",
        message: `${path.join(".")}: ${message}`,
      })),
    );
  }
  return serverComponent({
    schedulers,
    types,
  });
}

function locateIn({ settings, locatePlugin }: LoadedConfig, name: string): Locate {
  // A file may call a built-in by an alias.
  const labels = [name, ...(builtinPlugins.find((plugin) => plugin.name === name)?.aliases ?? [])];
  return (path) => {
    const label = labels.find((one) => Object.hasOwn(settings.plugin ?? {}, one));
    return label === undefined ? undefined : locatePlugin(label, path);
  };
}

function settled<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  const errors = results.flatMap((result) =>
    result.status === "rejected" ? [asPluginError(result.reason)] : [],
  );
  if (errors.length > 0) throw new PluginErrors(errors);
  return results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

function asPluginError(error: unknown): PluginError {
  return error instanceof PluginError ? error : new PluginError("", reasonOf(error), { cause: error });
}

function warnOfUnused(
  { unused, unprotected }: LoadedConfig,
  warn: (message: string, keys: readonly string[]) => void,
): void {
  if (unprotected.length > 0) {
    warn(
      "these settings ask for protection that this version DOES NOT give; keep its ports away from untrusted networks",
      unprotected,
    );
  }
  if (unused.length > 0)
    warn("these settings are accepted for compatibility and change nothing in this version", unused);
}
