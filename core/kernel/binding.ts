import "reflect-metadata";
import { type Plugin, type Token, tokenInfo } from "@drover/plugin-sdk";
import {
  type DependencyContainer,
  type InjectionToken,
  instanceCachingFactory,
  Lifecycle,
  type Provider,
  type RegistrationOptions,
} from "tsyringe";
import { PluginError, reasonOf } from "./errors.js";

type Registered = Provider<unknown> | (new (...args: never[]) => unknown);

/**
 * The child container of a plugin. What it registers for the tokens it declares becomes visible to every plugin, through
 * the root, as one instance a kernel whatever lifecycle the author chose; anything else stays inside.
 *
 * Multi-valued tokens are kept under keys of their own in the child: tsyringe looks no further than the first container
 * that knows a token, so a plugin that provides and also collects one would else see only its own.
 */
export class PluginBinding {
  readonly container: DependencyContainer;
  readonly #bound = new Set<Token<unknown>>();

  constructor(
    root: DependencyContainer,
    private readonly plugin: Plugin,
  ) {
    const child = root.createChildContainer();
    const register = child.register.bind(child) as (
      token: InjectionToken<unknown>,
      provider: Registered,
      options?: RegistrationOptions,
    ) => DependencyContainer;
    child.register = ((
      token: InjectionToken<unknown>,
      provider: Registered,
      options?: RegistrationOptions,
    ) => {
      if (typeof token !== "symbol" || !plugin.provides.includes(token))
        return register(token, provider, options);
      this.#bound.add(token);
      const key = tokenInfo(token).cardinality === "multiple" ? Symbol(tokenInfo(token).name) : token;
      registerOnce(register, key, provider);
      root.register(token, { useFactory: () => child.resolve(key) });
      return child;
    }) as DependencyContainer["register"];
    this.container = child;
  }

  /** Calls the plugin's `register`. Throws `PluginError` when it throws or leaves a declared token unbound. */
  register(config: unknown): void {
    const { plugin } = this;
    try {
      plugin.register(this.container, config as never);
    } catch (error) {
      throw new PluginError(plugin.name, `plugin "${plugin.name}" failed in register: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    const unbound = plugin.provides
      .filter((token) => !this.#bound.has(token))
      .map((token) => tokenInfo(token).name);
    if (unbound.length > 0) {
      throw new PluginError(
        plugin.name,
        `plugin "${plugin.name}" declares that it provides ${unbound.join(", ")} but did not bind it in register`,
      );
    }
  }
}

function registerOnce(
  register: (
    token: InjectionToken<unknown>,
    provider: Registered,
    options?: RegistrationOptions,
  ) => DependencyContainer,
  key: symbol,
  provider: Registered,
): void {
  if (typeof provider === "function")
    register(key, { useClass: provider as never }, { lifecycle: Lifecycle.Singleton });
  else if ("useFactory" in provider)
    register(key, { useFactory: instanceCachingFactory(provider.useFactory) });
  else if ("useValue" in provider) register(key, provider);
  else register(key, provider, { lifecycle: Lifecycle.Singleton });
}
