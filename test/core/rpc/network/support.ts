import type { AgentTls, Logger, TlsConfiguration } from "@drover/plugin-sdk";
import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { Http2Network, type NetworkOptions } from "../../../../core/rpc/network/http2-network.js";

export const NO_TLS: TlsConfiguration = {
  http: false,
  rpc: false,
  ca_file: "",
  cert_file: "",
  key_file: "",
  rpc_upgrade_mode: false,
  tls_cipher_suites: "",
  tls_min_version: "tls12",
  tls_prefer_server_cipher_suites: false,
  verify_https_client: false,
  verify_server_hostname: false,
};

const plainTls: AgentTls = {
  current: () => ({ config: NO_TLS, material: undefined }),
  onChange: () => () => undefined,
};

/** A network on a free port of the loopback interface. */
export async function openNetwork(
  options: Partial<NetworkOptions> = {},
): Promise<{ network: Http2Network; address: string; stop(): Promise<void> }> {
  const network = new Http2Network({
    host: "127.0.0.1",
    port: 0,
    region: "global",
    maxConnections: 100,
    handshakeTimeout: 5_000,
    log: quietLogger,
    metrics: quietMetrics,
    tls: plainTls,
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
  await network.start();
  return { network, address: `127.0.0.1:${network.address()!.port}`, stop: () => network.stop() };
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly text: string;
}

/** A log that keeps what was said. */
export function recordingLogger(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, message, text: `${message} ${JSON.stringify(fields)}` });
  const log: Logger = {
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return { log, lines };
}
