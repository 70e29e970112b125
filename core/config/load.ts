import { rm } from "node:fs/promises";
import type { AgentConfiguration } from "@drover/plugin-sdk";
import { prepareDataDir, temporaryDataDir } from "./data-dir.js";
import { devSettings } from "./defaults.js";
import { type LoadedFiles, loadFiles } from "./files.js";
import { type AgentFlags, flagSettings } from "./flags.js";
import { mergeSettings } from "./merge.js";
import { resolveSettings } from "./resolve.js";
import { fileSchema, type Settings } from "./schema.js";
import { agentSelf } from "./self.js";
import { type UnusedKeys, unusedKeys } from "./unused.js";

export interface LoadOptions {
  readonly dev: boolean;
  /** `-config` files and folders, in order. */
  readonly paths: readonly string[];
  readonly flags: AgentFlags;
  /** Data folder to keep, at a reload of a `-dev` agent; else a temporary one is made for it. */
  readonly dataDir?: string;
}

export interface LoadedConfig extends UnusedKeys {
  readonly config: AgentConfiguration;
  readonly settings: Settings;
  readonly selfConfig: object;
  /** Set where the data folder is temporary and to be removed at the end. */
  readonly temporaryDir: string | undefined;
  readonly locate: LoadedFiles["locate"];
  readonly locatePlugin: LoadedFiles["locatePlugin"];
}

/**
 * The agent's configuration: `-dev` defaults, then files in order, then flags. Prepares the data folder. Throws
 * `ConfigError` with everything that is wrong.
 */
export async function loadConfig({ dev, paths, flags, dataDir }: LoadOptions): Promise<LoadedConfig> {
  const fromFlags = flagSettings(flags);
  const { settings: fromFiles, files, locate, locatePlugin } = await loadFiles(paths);
  const settings = [fromFiles, fromFlags].reduce(mergeSettings, dev ? devSettings() : {});
  const temporaryDir =
    dev && !settings.data_dir && dataDir === undefined ? await temporaryDataDir() : undefined;
  try {
    const config = resolveSettings(settings, { files, dataDir: dataDir ?? temporaryDir });
    await prepareDataDir(config.data_dir);
    return {
      config,
      settings,
      selfConfig: agentSelf(config, settings, { dev }),
      temporaryDir,
      locate,
      locatePlugin,
      ...unusedKeys(fileSchema, settings),
    };
  } catch (error) {
    if (temporaryDir !== undefined) await rm(temporaryDir, { recursive: true, force: true });
    throw error;
  }
}
