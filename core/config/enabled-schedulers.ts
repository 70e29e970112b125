import { JobType } from "@drover/plugin-sdk";
import { ConfigError, type ConfigProblem } from "./errors.js";
import type { LoadedConfig } from "./load.js";

const KEY = ["server", "enabled_schedulers"];

/**
 * Job types that this server schedules: of `known`, those that `server.enabled_schedulers` names, or all where it names none.
 * Throws `ConfigError` for a name that no scheduler has, and for a list without `_core`.
 */
export function enabledSchedulers(
  { config, locate }: Pick<LoadedConfig, "config" | "locate">,
  known: readonly string[],
): string[] {
  const named = config.server.enabled_schedulers;
  if (named.length === 0) return [...known];
  const place = (name?: string): string =>
    locate(KEY, (value) => Array.isArray(value) && (name === undefined || value.includes(name))) ?? "";
  const all = [...known, JobType.Core].map((name) => `"${name}"`).join(", ");
  const problems: ConfigProblem[] = [...new Set(named)]
    .filter((name) => name !== JobType.Core && !known.includes(name))
    .map((name) => ({
      place: place(name),
      message: `${KEY.join(".")}: there is no scheduler "${name}"; there are ${all}`,
    }));
  if (!named.includes(JobType.Core)) {
    problems.push({
      place: place(),
      message: `${KEY.join(".")}: "${JobType.Core}" is missing from the list: it collects what is over, and nothing else does`,
    });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return known.filter((type) => named.includes(type));
}
