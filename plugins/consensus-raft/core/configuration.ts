import type { Configuration, ConfigurationChange, Refusal, Server } from "./types.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The data of a `configuration` entry: JSON, so that a log can be read with any tool. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { cluster, servers } = configuration;
  return encoder.encode(JSON.stringify({ cluster, servers }));
}

export function decodeConfiguration(data: Uint8Array): Configuration {
  return parseConfiguration(JSON.parse(decoder.decode(data)));
}

/** Checks the shape of a configuration read from disk or network; throws a TypeError that says what is wrong. */
export function parseConfiguration(value: unknown): Configuration {
  const { servers, cluster } = (value ?? {}) as { servers?: unknown; cluster?: unknown };
  if (!Array.isArray(servers)) throw new TypeError("a raft configuration must have a list of servers");
  if (cluster !== undefined && typeof cluster !== "string") {
    throw new TypeError("the cluster of a raft configuration must be a string");
  }
  return {
    ...(cluster === undefined ? {} : { cluster }),
    servers: servers.map((server: Partial<Server> | null, position): Server => {
      if (
        typeof server?.id !== "string" ||
        typeof server.address !== "string" ||
        typeof server.voter !== "boolean"
      ) {
        throw new TypeError(`server ${position} of the raft configuration lacks id, address or voter`);
      }
      return { id: server.id, address: server.address, voter: server.voter };
    }),
  };
}

export function voters(configuration: Configuration): string[] {
  return configuration.servers.filter((server) => server.voter).map((server) => server.id);
}

export function isVoter(configuration: Configuration, id: string): boolean {
  return configuration.servers.some((server) => server.voter && server.id === id);
}

/** The configuration after a change; a refusal when it would name nobody or leave no voter. */
export function changeConfiguration(
  configuration: Configuration,
  change: ConfigurationChange,
): Configuration | { refused: Refusal } {
  const id = change.type === "add" ? change.server.id : change.id;
  const others = configuration.servers.filter((server) => server.id !== id);
  if (change.type === "remove" && others.length === configuration.servers.length)
    return { refused: "unknown-server" };
  const changed = { ...configuration, servers: change.type === "add" ? [...others, change.server] : others };
  return voters(changed).length === 0 ? { refused: "last-voter" } : changed;
}
