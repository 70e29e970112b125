import type { ServerConfiguration } from "@drover/plugin-sdk";
import { AddressError, splitHostPort } from "./addresses.js";
import { DEFAULT_PORTS } from "./defaults.js";
import type { Settings } from "./schema.js";

const KEYS = ["start_join", "retry_join", "retry_max", "retry_interval"] as const;
/** Milliseconds. */
const RETRY_INTERVAL = 30_000;

/** Whether the configuration names servers to join. */
export function joinsServers({ server = {} }: Settings): boolean {
  const { start_join = [], retry_join = [] } = { ...server, ...server.server_join };
  return start_join.length + retry_join.length > 0;
}

/** The block `server_join`, or the older keys that stand in the `server` block itself. */
export function resolveServerJoin({ server = {} }: Settings): ServerConfiguration["server_join"] {
  const join = server.server_join ?? server;
  return {
    start_join: join.start_join ?? [],
    retry_join: join.retry_join ?? [],
    retry_max: join.retry_max ?? 0,
    retry_interval: join.retry_interval || RETRY_INTERVAL,
  };
}

export function checkServerJoin({ server = {} }: Settings, problem: (message: string) => void): void {
  if (server.server_join !== undefined) {
    for (const key of KEYS) {
      if (server[key] !== undefined) {
        problem(
          `server.server_join and server.${key} can't both be set: keep the block server_join (the flags -join, -retry-join, -retry-max and -retry-interval count as it)`,
        );
      }
    }
  }
  const { start_join = [], retry_join = [] } = server.server_join ?? server;
  for (const [key, addresses] of [
    ["start_join", start_join],
    ["retry_join", retry_join],
  ] as const) {
    for (const address of addresses) {
      if (/\bprovider=/.test(address)) {
        problem(
          `server.${key}: "${address}" asks a cloud: that is done by plugins that provide ServerDiscovery`,
        );
        continue;
      }
      try {
        splitHostPort(address, DEFAULT_PORTS.rpc);
      } catch (error) {
        if (!(error instanceof AddressError)) throw error;
        problem(`server.${key}: ${error.message}`);
      }
    }
  }
}
