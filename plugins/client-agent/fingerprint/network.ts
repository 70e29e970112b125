import { existsSync, readFileSync } from "node:fs";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import type { NetworkResource, NodeNetworkResource } from "@drover/plugin-sdk";

export interface NetworkFacts {
  readonly attributes: Record<string, string>;
  readonly networks: NetworkResource[];
  readonly nodeNetworks: NodeNetworkResource[];
}

/** Megabits a second of an interface that tells none. */
const DEFAULT_SPEED = 1000;

/**
 * The interface of the default route, or the one that `wanted` names, with its addresses; in development mode the
 * loopback. Throws for a name that the machine hasn't got.
 */
export function fingerprintNetwork(wanted: string, devMode: boolean): NetworkFacts {
  const interfaces = networkInterfaces();
  const loopback = Object.keys(interfaces).find((name) =>
    interfaces[name]?.some((address) => address.internal),
  );
  const device = wanted !== "" ? wanted : devMode ? loopback : (defaultRouteDevice() ?? loopback);
  if (device === undefined) return { attributes: {}, networks: [], nodeNetworks: [] };
  const addresses = interfaces[device];
  if (addresses === undefined) {
    const known = Object.keys(interfaces).join(", ");
    throw new Error(`network_interface "${device}" does not exist on this machine; it has ${known}`);
  }
  const usable = usableAddresses(addresses);
  const speed = speedOf(device);
  const first = usable.find((address) => address.family === "IPv4") ?? usable[0];
  const mac = usable[0]?.mac ?? "";
  return {
    attributes: first === undefined ? {} : { "unique.network.ip-address": first.address },
    networks: usable.map((address) => ({
      CIDR: `${address.address}/${address.family === "IPv4" ? 32 : 128}`,
      DNS: null,
      Device: device,
      DynamicPorts: null,
      IP: address.address,
      MBits: speed,
      Mode: "host",
      ReservedPorts: null,
    })),
    nodeNetworks: [
      {
        Addresses: usable.map((address) => ({
          Address: address.address,
          Alias: "default",
          Family: address.family === "IPv4" ? "ipv4" : "ipv6",
          Gateway: "",
          ReservedPorts: "",
        })),
        Device: device,
        MacAddress: /^(00:)+00$/.test(mac) ? "" : mac,
        Mode: "host",
        Speed: speed,
      },
    ],
  };
}

/** Link-local addresses are of no use to others, unless there is nothing else. */
function usableAddresses(addresses: readonly NetworkInterfaceInfo[]): NetworkInterfaceInfo[] {
  const routable = addresses.filter(
    (a) => !a.address.startsWith("fe80:") && !a.address.startsWith("169.254."),
  );
  return routable.length > 0 ? routable : [...addresses];
}

function defaultRouteDevice(): string | undefined {
  if (!existsSync("/proc/net/route")) return undefined;
  const rows = readFileSync("/proc/net/route", "utf8").split("\n").slice(1);
  return rows.map((row) => row.split("\t")).find((fields) => fields[1] === "00000000")?.[0];
}

function speedOf(device: string): number {
  try {
    const speed = Number(readFileSync(`/sys/class/net/${device}/speed`, "utf8"));
    return speed > 0 ? speed : DEFAULT_SPEED;
  } catch {
    // Loopback and virtual interfaces have no speed: reading it is an error of its own.
    return DEFAULT_SPEED;
  }
}
