/** The agent's certificates, as its listeners and connections use them. */
import type { SecureVersion } from "node:tls";
import { createToken } from "../kernel/token.js";

/** The `tls` block of Nomad's agent configuration (https://developer.hashicorp.com/nomad/docs/configuration/tls). */
export interface TlsConfiguration {
  readonly http: boolean;
  readonly rpc: boolean;
  readonly ca_file: string;
  readonly cert_file: string;
  readonly key_file: string;
  readonly rpc_upgrade_mode: boolean;
  /** Names of Go, with commas; empty: Node's choice. */
  readonly tls_cipher_suites: string;
  readonly tls_min_version: "tls10" | "tls11" | "tls12" | "tls13";
  readonly tls_prefer_server_cipher_suites: boolean;
  readonly verify_https_client: boolean;
  readonly verify_server_hostname: boolean;
}

/** Options of `node:tls` that both ends of a connection take. Never log them: they hold the key. */
export interface TlsMaterial {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly minVersion: SecureVersion;
  /** In OpenSSL's names. */
  readonly ciphers?: string;
  readonly honorCipherOrder: boolean;
}

export interface TlsState {
  readonly config: TlsConfiguration;
  /** Undefined where both `http` and `rpc` are off. */
  readonly material: TlsMaterial | undefined;
}

export interface AgentTls {
  current(): TlsState;
  /** Called after the certificates or the settings changed; new connections are to use the new ones. Returns its removal. */
  onChange(listener: () => void): () => void;
}
export const AgentTls = createToken<AgentTls>("AgentTls");
