// Plugins load tsyringe, which wants this before it.
import "reflect-metadata";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isPlugin, type Plugin, shareSdkWithPlugins } from "@drover/plugin-sdk";
import { nearestName } from "../jobspec/hcl/error.js";
import { builtinLabels, builtinModule, findBuiltin } from "./builtin.js";
import { PluginError, reasonOf } from "./errors.js";
import { resolvePackage } from "./package-entry.js";
import { verifySignature } from "./signature.js";

export interface LoaderOptions {
  /** Folders whose `node_modules` packages are looked for in, in order: working folder, data folder, `plugin_dir`. */
  readonly packageRoots: readonly string[];
  /** Publisher keys of `plugin_trust`; undefined where the operator doesn't ask for signatures. */
  readonly publishers?: readonly string[];
}

export interface LoadedPlugin {
  readonly plugin: Plugin;
  /** `file:` URL of its module. */
  readonly module: string;
}

/**
 * Finds and imports a plugin: a built-in by its label, else what `source` says (a file, where it starts with `./`,
 * `../` or `/`, or an npm package). Throws `PluginError`.
 */
export async function loadPlugin(
  label: string,
  source: string | undefined,
  options: LoaderOptions,
): Promise<LoadedPlugin> {
  const builtin = findBuiltin(label);
  if (builtin !== undefined && source === undefined) {
    return importPlugin(builtin.name, builtinModule(builtin.name));
  }
  if (source === undefined) throw unknownPlugin(label);
  const file = /^(\.{1,2}\/|\/)/.test(source)
    ? pluginFile(label, source)
    : packageFile(label, source, options);
  if (options.publishers !== undefined) await verifySignature(label, file, options.publishers);
  shareSdkWithPlugins();
  return importPlugin(label, pathToFileURL(file));
}

function unknownPlugin(label: string): PluginError {
  const near = nearestName(label, builtinLabels());
  const hint = near === undefined ? `built-in are ${builtinLabels().join(", ")}` : `did you mean "${near}"?`;
  return new PluginError(
    label,
    `plugin "${label}" is unknown; ${hint} (a plugin from elsewhere needs source = "…")`,
  );
}

function pluginFile(label: string, source: string): string {
  const file = resolve(source);
  if (!existsSync(file))
    throw new PluginError(label, `plugin "${label}": source file ${file} does not exist`);
  if (!statSync(file).isFile())
    throw new PluginError(label, `plugin "${label}": source ${file} is not a file`);
  return file;
}

function packageFile(label: string, source: string, { packageRoots }: LoaderOptions): string {
  try {
    const file = resolvePackage(source, packageRoots);
    if (file !== undefined) return file;
  } catch (error) {
    throw new PluginError(label, `plugin "${label}": package ${source}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  throw new PluginError(
    label,
    `plugin "${label}": npm package ${source} is not installed in ${packageRoots.join(", ")} or above; ` +
      `install it there, or write source = "./FILE" for a file`,
  );
}

async function importPlugin(name: string, url: URL): Promise<LoadedPlugin> {
  let module: { readonly default?: unknown };
  try {
    module = (await import(url.href)) as { readonly default?: unknown };
  } catch (error) {
    throw new PluginError(
      name,
      `plugin "${name}" can't be loaded from ${fileURLToPath(url)}: ${reasonOf(error)}`,
      { cause: error },
    );
  }
  const plugin = module.default;
  if (!isPlugin(plugin)) {
    throw new PluginError(
      name,
      `plugin "${name}": the default export of ${fileURLToPath(url)} is no plugin; make it one with definePlugin()`,
    );
  }
  if (plugin.name !== name) {
    throw new PluginError(
      name,
      `plugin "${name}": ${fileURLToPath(url)} defines a plugin named "${plugin.name}"; label its block so`,
    );
  }
  return { plugin, module: url.href };
}
