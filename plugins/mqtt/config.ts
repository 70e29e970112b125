/** The operator's `plugin "mqtt" { config { … } }` block. */

import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { TlsOptions } from "node:tls";
import { z } from "zod";
import { CHUNK_BYTES } from "./codec.js";

export const DEFAULT_PORT = 1883;
export const DEFAULT_TLS_PORT = 8883;
/** What a packet may need around a chunk: topic, sealing, framing. */
const SMALLEST_PACKET: number = CHUNK_BYTES + 64 * 1024;

/** HCL gives a nested block as a list of one. */
function block<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (Array.isArray(value) && value.length === 1 ? value[0] : value), schema);
}

const Tls = z.strictObject({
  /** PEM files. On the embedded broker: its certificate and key; elsewhere those of this client. */
  cert_file: z.string().optional(),
  key_file: z.string().optional(),
  /** Authorities that the other side's certificate must come from. On the embedded broker it demands client certificates. */
  ca_file: z.string().optional(),
  /** Name in the broker's certificate, where it differs from the host of the URL. */
  server_name: z.string().optional(),
});

const brokerUrl = z
  .string()
  .refine(
    (text) => URL.canParse(text) && ["mqtt:", "mqtts:"].includes(new URL(text).protocol),
    'must be an MQTT URL such as "mqtt://broker.example:1883" or "mqtts://broker.example:8883"',
  )
  .refine(
    (text) => !URL.canParse(text) || (new URL(text).username === "" && new URL(text).password === ""),
    "must not contain a user or password: use username and password_file",
  );

const Broker = z
  .strictObject({
    /** Run a broker in the server's process; false with `url`. */
    embedded: z.boolean().optional(),
    /** `host:port` of the embedded broker; port 0 takes a free one. */
    listen: z
      .string()
      .refine((text) => parseListen(text) !== undefined, 'must be "host:port", for example "0.0.0.0:1883"')
      .optional(),
    /** Broker that agents connect to; with `embedded = false` servers too. */
    url: brokerUrl.optional(),
    /** Brokers of the servers, for an agent that runs no server: it connects to one of them, and to another when that fails. */
    urls: z.array(brokerUrl).max(64).default([]),
    username: z.string().min(1).max(256).optional(),
    /** File with the broker password. On the embedded broker every client must show it. */
    password_file: z.string().optional(),
    tls: block(Tls).optional(),
    /** Largest MQTT packet the embedded broker takes, bytes. */
    max_payload: z
      .number()
      .int()
      .min(SMALLEST_PACKET)
      .max(16 * 1024 * 1024)
      .default(1024 * 1024),
    max_connections: z.number().int().min(1).max(1_000_000).default(10_000),
    /** Rate above which the embedded broker slows one client down. */
    max_messages_per_second: z.number().int().min(10).max(1_000_000).default(2_000),
    /** Seconds between pings of an agent on an idle connection. */
    keepalive: z.number().int().min(5).max(300).default(30),
  })
  .transform((broker) => ({ ...broker, embedded: broker.embedded ?? broker.url === undefined }))
  .refine((broker) => broker.embedded || broker.url !== undefined, {
    path: ["url"],
    message: "is needed when embedded = false",
  });

export const MqttConfig = z.strictObject({
  broker: block(Broker).default(() => Broker.parse({})),
  /** File with the join token of this agent, written by the operator before its first start. */
  join_token_file: z.string().optional(),
});
export type MqttConfig = z.output<typeof MqttConfig>;
export type BrokerConfig = MqttConfig["broker"];

/** `host:port`, with brackets around an IPv6 address; undefined for anything else. */
export function parseListen(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

export function formatAddress(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

async function readNamed(key: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new Error(`plugin "mqtt": broker.${key}: can't read ${file}: ${(error as Error).message}`);
  }
}

/** The PEM files of `tls`, read; undefined where no TLS is configured. Throws with the key and the file. */
export async function readTls(
  config: BrokerConfig,
): Promise<(Pick<TlsOptions, "cert" | "key" | "ca"> & { servername?: string }) | undefined> {
  const { tls } = config;
  if (tls === undefined) return undefined;
  return {
    ...(tls.cert_file === undefined ? {} : { cert: await readNamed("tls.cert_file", tls.cert_file) }),
    ...(tls.key_file === undefined ? {} : { key: await readNamed("tls.key_file", tls.key_file) }),
    ...(tls.ca_file === undefined ? {} : { ca: await readNamed("tls.ca_file", tls.ca_file) }),
    ...(tls.server_name === undefined ? {} : { servername: tls.server_name }),
  };
}

export async function readPassword(config: BrokerConfig): Promise<string | undefined> {
  if (config.password_file === undefined) return undefined;
  const password = (await readNamed("password_file", config.password_file)).toString("utf8").trim();
  if (password === "")
    throw new Error(`plugin "mqtt": broker.password_file: ${config.password_file} is empty`);
  return password;
}
