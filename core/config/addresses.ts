import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";

/** Addresses of "this network" (RFC 1122), the unspecified one of IPv6, broadcast; in whatever spelling. */
const ANY = new BlockList();
ANY.addSubnet("0.0.0.0", 8, "ipv4");
ANY.addAddress("255.255.255.255", "ipv4");
ANY.addAddress("::", "ipv6");
const MULTICAST = new BlockList();
MULTICAST.addSubnet("224.0.0.0", 4, "ipv4");
MULTICAST.addSubnet("ff00::", 8, "ipv6");

const WILDCARDS = new Set(["0.0.0.0", "::", "[::]", ""]);

/** An address can't be made out; the message says what to write instead. */
export class AddressError extends Error {
  override readonly name = "AddressError";
}

/**
 * An address of the configuration, with the go-sockaddr templates that are in use replaced: `{{ GetPrivateIP }}`,
 * `{{ GetPublicIP }}`, `{{ GetInterfaceIP "eth0" }}`. Throws `AddressError`.
 */
export function resolveTemplate(text: string): string {
  return text.replace(/\{\{(.*?)\}\}/g, (_all, expression: string) => {
    const [, call, argument] = /^\s*(\w+)(?:\s+"([^"]*)")?\s*$/.exec(expression) ?? [];
    const found =
      call === "GetPrivateIP"
        ? findAddress((address) => isPrivate(address))
        : call === "GetPublicIP"
          ? findAddress((address) => !isPrivate(address))
          : call === "GetInterfaceIP" && argument !== undefined
            ? interfaceAddress(argument)
            : undefined;
    if (found !== undefined) return found;
    if (call === undefined || !["GetPrivateIP", "GetPublicIP", "GetInterfaceIP"].includes(call)) {
      throw new AddressError(
        `template {{${expression}}} is unknown; known are GetPrivateIP, GetPublicIP and GetInterfaceIP "NAME"`,
      );
    }
    throw new AddressError(`{{${expression}}} finds no address on this host`);
  });
}

/** `host:port` to be reached at: what is written, else the bind address, else (where that is any) a private address. */
export function advertiseAddress(written: string, bound: string, port: number): string {
  if (written !== "") {
    const text = resolveTemplate(written);
    const withPort = /^(\[[^\]]+\]|[^:[\]]+):(\d+)$/.exec(text);
    if (withPort !== null) return text;
    return joinHostPort(text, port);
  }
  if (!WILDCARDS.has(bound)) return joinHostPort(bound, port);
  const found = findAddress((address) => isPrivate(address));
  if (found === undefined) {
    throw new AddressError(
      `the agent binds to any address (${bound}) and this host has no private one to be reached at; ` +
        "set bind_addr (-bind), for example to 127.0.0.1, or advertise.http, advertise.rpc and advertise.serf",
    );
  }
  return joinHostPort(found, port);
}

/** Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address. Throws `AddressError`. */
export function splitHostPort(
  address: string,
  byDefault: number,
): { readonly host: string; readonly port: number } {
  const text = address.trim();
  if (isIP(text) === 6) return { host: text, port: byDefault };
  const [, bracketed, plain, written] = /^(?:\[([^[\]\s]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = written === undefined ? byDefault : Number(written);
  if (host === undefined || port < 1 || port > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    throw new AddressError(`"${address}" is no address: write host or host:port`);
  }
  return { host, port };
}

/** Why other servers can't reach an address of `host:port`; undefined where nothing is known against it. */
export function unreachableReason(address: string): string | undefined {
  const host = address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (isIP(host) === 0) return host === "" ? "it names no host" : undefined;
  if (ANY.check(host, isIP(host) === 4 ? "ipv4" : "ipv6")) return "it stands for any address of a machine";
  if (MULTICAST.check(host, isIP(host) === 4 ? "ipv4" : "ipv6")) return "it is a multicast address";
  return undefined;
}

export function joinHostPort(host: string, port: number): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

function findAddress(accept: (address: string) => boolean): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find(({ family, internal, address }) => family === "IPv4" && !internal && accept(address))
    ?.address;
}

function interfaceAddress(name: string): string | undefined {
  const addresses = networkInterfaces()[name] ?? [];
  return (addresses.find(({ family }) => family === "IPv4") ?? addresses[0])?.address;
}

/** RFC 1918, and RFC 6598's shared space. */
function isPrivate(address: string): boolean {
  const [a = 0, b = 0] = address.split(".").map(Number);
  return (
    a === 10 ||
    (a === 172 && b >= 16 && b < 32) ||
    (a === 192 && b === 168) ||
    (a === 100 && b >= 64 && b < 128)
  );
}
