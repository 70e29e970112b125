import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsConfiguration } from "@drover/plugin-sdk";
import {
  type CertificateRole,
  createAuthority,
  type Issued,
  issueCertificate,
} from "../../../../core/tls/authority.js";
import { NO_TLS } from "./support.js";

/** A folder with an authority, which makes certificates in it. */
export class CertificateFolder {
  #made = 0;

  private constructor(
    readonly folder: string,
    private readonly authority: Issued,
  ) {}

  static async create(): Promise<CertificateFolder> {
    const folder = await mkdtemp(join(tmpdir(), "drover-tls-"));
    const authority = await createAuthority({ domain: "drover", days: 10, nameConstraint: false });
    await writeFile(join(folder, "ca.pem"), authority.certificate);
    return new CertificateFolder(folder, authority);
  }

  get ca(): string {
    return join(this.folder, "ca.pem");
  }

  issue(role: CertificateRole, region = "global", days = 5): Promise<Issued> {
    return issueCertificate(this.authority, {
      role,
      region,
      domain: "drover",
      days,
      dnsNames: [],
      ipAddresses: [],
    });
  }

  /** Settings for mutual TLS with a new certificate. */
  async settings(
    role: CertificateRole,
    region = "global",
    more: Partial<TlsConfiguration> = {},
    days = 5,
  ): Promise<TlsConfiguration> {
    const base = join(this.folder, `${role}-${++this.#made}`);
    const { certificate, key } = await this.issue(role, region, days);
    await writeFile(`${base}.pem`, certificate);
    await writeFile(`${base}-key.pem`, key, { mode: 0o600 });
    return {
      ...NO_TLS,
      rpc: true,
      verify_server_hostname: true,
      ca_file: this.ca,
      cert_file: `${base}.pem`,
      key_file: `${base}-key.pem`,
      ...more,
    };
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
