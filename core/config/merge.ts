import { isObject } from "./blocks.js";
import type { Settings } from "./schema.js";

/** Keys whose empty value means something, so that a later file's `0` or `false` counts. */
const EMPTY_COUNTS = new Set([
  "autopilot.cleanup_dead_servers",
  "server.num_schedulers",
  "server.enable_event_broker",
  "limits.http_max_conns_per_client",
  "limits.rpc_max_conns_per_client",
]);

/**
 * Later settings over earlier ones, as Nomad does it: a later value that is not empty (`""`, `0`, `false`) replaces,
 * lists are appended, blocks are merged key by key, and a `plugin` block replaces an earlier one of its name whole.
 */
export function mergeSettings(earlier: Settings, later: Settings): Settings {
  return mergeObjects(earlier, later, "") as Settings;
}

function mergeObjects(earlier: object, later: object, path: string): object {
  const merged = new Map<string, unknown>(Object.entries(earlier));
  for (const [key, value] of Object.entries(later)) {
    if (value === undefined) continue;
    const name = path === "" ? key : `${path}.${key}`;
    merged.set(key, mergeValues(merged.get(key), value, name, path === "plugin"));
  }
  return Object.fromEntries(merged);
}

function mergeValues(earlier: unknown, later: unknown, name: string, replace: boolean): unknown {
  if (earlier === undefined || replace) return later;
  if (Array.isArray(earlier) && Array.isArray(later)) return [...earlier, ...later];
  if (isObject(earlier) && isObject(later)) return mergeObjects(earlier, later, name);
  const isEmpty = later === "" || later === 0 || later === false;
  return isEmpty && !EMPTY_COUNTS.has(name) ? earlier : later;
}
