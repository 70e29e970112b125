import {
  createToken,
  definePlugin,
  type Logger,
  type Plugin,
  type PluginDefinition,
  type Token,
} from "@drover/plugin-sdk";
import { Kernel } from "../../../core/kernel/index.js";

export const silent: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silent,
};

let number = 0;
/** A token of its own for every test. */
export function freshToken<T = unknown>(cardinality: "single" | "multiple" = "single"): Token<T> {
  return createToken<T>(`Test${number++}`, cardinality);
}

export type Parts = Partial<PluginDefinition> & { readonly name: string };

/** A plugin that binds its own name for every token it provides, unless the test says otherwise. */
export function plugin(parts: Parts): Plugin {
  return definePlugin({
    register(container) {
      for (const token of parts.provides ?? []) container.register(token, { useValue: parts.name });
    },
    ...parts,
  }) as Plugin;
}

export function newKernel(onFatal: (error: Error) => void = () => undefined): Kernel {
  return new Kernel({ log: silent, onFatal });
}

/** A kernel with plugins added. */
export function kernelOf(...plugins: readonly Plugin[]): Kernel {
  const kernel = newKernel();
  for (const one of plugins) kernel.add(one);
  return kernel;
}
