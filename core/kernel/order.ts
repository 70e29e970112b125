import { type Plugin, type Token, tokenInfo } from "@drover/plugin-sdk";
import { PluginError, PluginErrors } from "./errors.js";

export interface OrderOptions {
  /** Tokens that the host itself has bound. */
  readonly bound: ReadonlySet<Token<unknown>>;
  /** Built-in plugins that would provide a token, for the error about a missing provider. */
  knownProviders(token: Token<unknown>): readonly string[];
}

/**
 * The order to start plugins in: every plugin after those that provide what it requires or would use. Among plugins
 * that don't depend on each other the order they were given in stays. Throws `PluginErrors` with everything that is
 * wrong: missing and second providers, and the path of the first cycle.
 */
export function orderPlugins(plugins: readonly Plugin[], options: OrderOptions): Plugin[] {
  const errors: PluginError[] = [];
  const providers = providersOf(plugins, options, errors);
  for (const plugin of plugins) {
    for (const token of plugin.requires) {
      const isProvided = options.bound.has(token) || providers.has(token);
      // A multi-valued token resolves to a list, and none is a list too.
      if (isProvided || tokenInfo(token).cardinality === "multiple") continue;
      errors.push(missingProvider(plugin, token, options));
    }
  }
  if (errors.length > 0) throw new PluginErrors(errors);
  return topological(plugins, providers);
}

function providersOf(
  plugins: readonly Plugin[],
  { bound }: OrderOptions,
  errors: PluginError[],
): Map<Token<unknown>, Plugin[]> {
  const providers = new Map<Token<unknown>, Plugin[]>();
  for (const plugin of plugins) {
    for (const token of new Set(plugin.provides)) {
      const { name, cardinality } = tokenInfo(token);
      const others = providers.get(token) ?? [];
      if (cardinality === "single" && bound.has(token)) {
        errors.push(
          new PluginError(
            plugin.name,
            `plugin "${plugin.name}" provides ${name}, which the core provides itself`,
          ),
        );
      } else if (cardinality === "single" && others.length > 0) {
        const first = others[0]!.name;
        errors.push(
          new PluginError(
            plugin.name,
            `plugins "${first}" and "${plugin.name}" both provide ${name}, of which there can be one; turn one off, ` +
              `for example with plugin "${first}" { enabled = false }`,
          ),
        );
      }
      providers.set(token, [...others, plugin]);
    }
  }
  return providers;
}

function missingProvider(plugin: Plugin, token: Token<unknown>, options: OrderOptions): PluginError {
  const { name } = tokenInfo(token);
  const known = options.knownProviders(token).map((provider) => `"${provider}"`);
  const hint =
    known.length === 0
      ? "no built-in plugin does: add one that does to the configuration"
      : `the built-in plugin ${known.join(" or ")} does: enable it`;
  return new PluginError(
    plugin.name,
    `plugin "${plugin.name}" requires ${name}, which nothing provides; ${hint}`,
  );
}

/** Depth first in the order given, so that the result is stable. */
function topological(
  plugins: readonly Plugin[],
  providers: ReadonlyMap<Token<unknown>, readonly Plugin[]>,
): Plugin[] {
  const ordered: Plugin[] = [];
  const done = new Set<Plugin>();
  const path: { plugin: Plugin; needs: string }[] = [];

  const visit = (plugin: Plugin): void => {
    if (done.has(plugin)) return;
    const start = path.findIndex((step) => step.plugin === plugin);
    if (start >= 0) throw cycle(path.slice(start), plugin);
    for (const token of [...plugin.requires, ...plugin.optional]) {
      for (const provider of providers.get(token) ?? []) {
        // A plugin may use what it provides itself, and then waits for nobody.
        if (provider === plugin) continue;
        path.push({ plugin, needs: tokenInfo(token).name });
        visit(provider);
        path.pop();
      }
    }
    done.add(plugin);
    ordered.push(plugin);
  };

  for (const plugin of plugins) visit(plugin);
  return ordered;
}

function cycle(path: readonly { plugin: Plugin; needs: string }[], back: Plugin): PluginErrors {
  const steps = path.map(({ plugin, needs }) => `${plugin.name} (needs ${needs})`);
  const message = `plugins need each other in a circle: ${[...steps, back.name].join(" → ")}`;
  return new PluginErrors([new PluginError(back.name, message)]);
}
