import type { DependencyContainer } from "tsyringe";
import { z } from "zod";
import type { Logger } from "../contracts/platform.js";
import type { Token } from "./token.js";

/** The container a plugin registers its bindings in; a child of the kernel's, so nothing leaks to other plugins. */
export type PluginContainer = DependencyContainer;

/** What a plugin is given when it starts. */
export interface PluginContext<Config> {
  /** The plugin's name, as in its definition. */
  readonly name: string;
  /** The operator's block, checked and completed by the plugin's own schema. */
  readonly config: Config;
  /** The plugin's container; resolve here what `register` bound and what other plugins provide. */
  readonly container: PluginContainer;
  readonly log: Logger;
  /** Aborted when the start deadline passes or the kernel shuts down. */
  readonly signal: AbortSignal;
  /**
   * Reports that the plugin can't go on after it started (a listener died, a disk is full). The kernel stops the whole
   * process in order and ends with a non-zero code: better down and seen than half alive.
   */
  fatal(error: Error): void;
}

/** A plugin as its author writes it. */
export interface PluginDefinition<Schema extends z.ZodType = z.ZodType> {
  /** Lower-case name, the label of the operator's `plugin "NAME"` block. */
  readonly name: string;
  /** One sentence for `drover plugin list` and the documents. */
  readonly description?: string;
  /** Schema of the operator's `config` block. Use `z.strictObject` so that unknown keys are errors with a path. */
  readonly config?: Schema;
  /** Tokens that must be provided before this plugin starts. */
  readonly requires?: readonly Token<unknown>[];
  /** Tokens used when present: an order is kept with their providers, but none is needed. */
  readonly optional?: readonly Token<unknown>[];
  /** Tokens that this plugin binds in `register`. */
  readonly provides?: readonly Token<unknown>[];
  /** Deadline of `start`, milliseconds (default 10,000). */
  readonly startTimeout?: number;
  /** Deadline of `stop`, milliseconds (default 5,000). */
  readonly stopTimeout?: number;
  /** Bindings only, no input or output. Every token of `provides` must be bound when it returns. */
  register(container: PluginContainer, config: z.output<Schema>): void;
  /** Opens files and sockets. Runs after every provider it requires has started. */
  start?(context: PluginContext<z.output<Schema>>): Promise<void> | void;
  /** Closes what `start` opened. Runs before the providers it requires stop; called also when `start` failed. */
  stop?(context: PluginContext<z.output<Schema>>): Promise<void> | void;
  /** Takes a changed configuration while running; without it a change needs a restart. */
  reload?(config: z.output<Schema>, context: PluginContext<z.output<Schema>>): Promise<void> | void;
}

/** Brand by which the loader knows a definition from any other default export. */
export const pluginBrand: unique symbol = Symbol.for("drover.plugin") as never;

export type Plugin<Schema extends z.ZodType = z.ZodType> = Required<
  Pick<
    PluginDefinition<Schema>,
    | "name"
    | "description"
    | "config"
    | "requires"
    | "optional"
    | "provides"
    | "startTimeout"
    | "stopTimeout"
    | "register"
  >
> &
  Pick<PluginDefinition<Schema>, "start" | "stop" | "reload"> & { readonly [pluginBrand]: true };

const NAME = /^[a-z][a-z0-9-]*$/;
const emptyConfig = z.strictObject({});

/**
 * Completes a plugin's definition; the module's default export. Throws a TypeError for a name the configuration could
 * not spell.
 */
export function definePlugin<Schema extends z.ZodType = typeof emptyConfig>(
  definition: PluginDefinition<Schema>,
): Plugin<Schema> {
  if (!NAME.test(definition.name)) {
    throw new TypeError(`plugin name "${definition.name}" must be lower-case letters, digits and dashes`);
  }
  return {
    ...definition,
    description: definition.description ?? "",
    config: definition.config ?? (emptyConfig as unknown as Schema),
    requires: definition.requires ?? [],
    optional: definition.optional ?? [],
    provides: definition.provides ?? [],
    startTimeout: definition.startTimeout ?? 10_000,
    stopTimeout: definition.stopTimeout ?? 5_000,
    [pluginBrand]: true,
  };
}

/** Whether a module's default export is a plugin (of this or another copy of the SDK). */
export function isPlugin(value: unknown): value is Plugin {
  return (
    typeof value === "object" &&
    value !== null &&
    (value as { [pluginBrand]?: unknown })[pluginBrand] === true
  );
}
