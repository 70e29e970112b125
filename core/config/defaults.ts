import { networkInterfaces } from "node:os";
import type { Settings } from "./schema.js";

/** Ports of Nomad: the HTTP API, RPC among servers, gossip. */
export const DEFAULT_PORTS = { http: 4646, rpc: 4647, serf: 4648 } as const;

/**
 * What `-dev` means, under any files and flags: one server and one client on the loopback interface, raw_exec allowed,
 * everything published.
 */
export function devSettings(): Settings {
  return {
    bind_addr: "127.0.0.1",
    log_level: "DEBUG",
    enable_debug: true,
    server: { enabled: true, bootstrap_expect: 1 },
    client: {
      enabled: true,
      network_interface: loopbackInterface(),
      options: { "driver.raw_exec.enable": "true" },
      gc_interval: 600_000,
      gc_disk_usage_threshold: 99,
      gc_max_allocs: 50,
    },
    telemetry: { prometheus_metrics: true, publish_allocation_metrics: true, publish_node_metrics: true },
  };
}

function loopbackInterface(): string {
  const found = Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ internal }) => internal),
  );
  return found?.[0] ?? "lo";
}
