import type { Plugin } from "@drover/plugin-sdk";
import { fitBlocks } from "../config/blocks.js";
import { problemsOf } from "../config/problems.js";
import { PluginError, PluginErrors } from "./errors.js";

/** Where a key of a plugin's `config` was written, for example `agent.hcl:12`; undefined where that isn't known. */
export type Locate = (path: readonly (string | number)[]) => string | undefined;

/** The operator's block, checked and completed by the plugin's schema. Throws `PluginErrors` with every problem. */
export function checkSettings(plugin: Plugin, raw: unknown, locate: Locate = () => undefined): unknown {
  const checked = plugin.config.safeParse(fitBlocks(plugin.config, raw));
  if (checked.success) return checked.data;
  throw new PluginErrors(
    problemsOf(plugin.config, checked.error.issues).map(({ path, message }) => {
      const place = locate(path);
      const key = path.length === 0 ? "" : `${path.join(".")}: `;
      return new PluginError(
        plugin.name,
        `${place === undefined ? "" : `${place}: `}plugin "${plugin.name}" config: ${key}${message}`,
      );
    }),
  );
}
