import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { TlsConfiguration, TlsMaterial, TlsState } from "@drover/plugin-sdk";
import { ConfigError, type ConfigProblem } from "../config/index.js";
import { identities, subjectOf } from "./certificate-names.js";
import { cipherList } from "./cipher-suites.js";

const MIN_VERSIONS = { tls10: "TLSv1", tls11: "TLSv1.1", tls12: "TLSv1.2", tls13: "TLSv1.3" } as const;

export interface TlsOwner {
  readonly region: string;
  readonly server: boolean;
}

/** Reads and checks what the `tls` block names. Throws `ConfigError` with everything that is wrong. */
export async function loadTls(config: TlsConfiguration, owner: TlsOwner): Promise<TlsState> {
  if (!config.http && !config.rpc) return { config, material: undefined };
  const problems: ConfigProblem[] = [];
  const problem = (key: keyof TlsConfiguration, message: string): undefined => {
    problems.push({ place: "", message: `tls.${key}: ${message}` });
    return undefined;
  };
  const read = async (key: "ca_file" | "cert_file" | "key_file"): Promise<string | undefined> => {
    if (config[key] === "") return problem(key, "must be set where tls.http or tls.rpc is on");
    try {
      return await readFile(config[key], "utf8");
    } catch (error) {
      return problem(key, `can't be read: ${(error as Error).message}`);
    }
  };
  const [ca, cert, key] = await Promise.all([read("ca_file"), read("cert_file"), read("key_file")]);
  const chain =
    ca === undefined ? undefined : parsed(ca, (why) => problem("ca_file", `${config.ca_file} ${why}`));
  const own =
    cert === undefined
      ? undefined
      : parsed(cert, (why) => problem("cert_file", `${config.cert_file} ${why}`))?.[0];
  const secret =
    key === undefined
      ? undefined
      : privateKey(key, () =>
          problem("key_file", `${config.key_file} holds no private key in PEM that can be read`),
        );
  if (own !== undefined) {
    checkCertificate(own, config, owner, (why) => problem("cert_file", `${config.cert_file}: ${why}`));
    if (secret !== undefined && !own.checkPrivateKey(secret)) {
      problem("key_file", `${config.key_file} is not the key of the certificate in ${config.cert_file}`);
    }
    if (
      chain !== undefined &&
      !chain.some((one) => own.checkIssued(one) && own.verify(one.publicKey)) &&
      !hasIntermediates(cert!)
    ) {
      problem(
        "cert_file",
        `${config.cert_file} (${subjectOf(own)}) is not signed by the CA in ${config.ca_file}`,
      );
    }
  }
  let ciphers: string | undefined;
  try {
    ciphers = cipherList(config.tls_cipher_suites);
  } catch (error) {
    problem("tls_cipher_suites", (error as Error).message);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const material: TlsMaterial = {
    ca: ca!,
    cert: cert!,
    key: key!,
    minVersion: MIN_VERSIONS[config.tls_min_version],
    honorCipherOrder: config.tls_prefer_server_cipher_suites,
    ...(ciphers === undefined ? {} : { ciphers }),
  };
  try {
    createSecureContext(material);
  } catch (error) {
    problem("cert_file", `OpenSSL doesn't take the files together: ${(error as Error).message}`);
    throw new ConfigError(problems);
  }
  return { config, material };
}

function checkCertificate(
  certificate: X509Certificate,
  config: TlsConfiguration,
  { region, server }: TlsOwner,
  problem: (why: string) => void,
): void {
  const now = Date.now();
  if (now > Date.parse(certificate.validTo)) {
    problem(
      `the certificate of ${subjectOf(certificate)} has expired: it was valid until ${certificate.validTo}`,
    );
  }
  if (now < Date.parse(certificate.validFrom)) {
    problem(
      `the certificate of ${subjectOf(certificate)} is not valid yet: it is from ${certificate.validFrom}`,
    );
  }
  const role = server ? "server" : "client";
  const names = identities(certificate);
  if (
    config.rpc &&
    !names.some((name) => name.region === region && (name.role === role || name.role === "server"))
  ) {
    problem(
      `the certificate of ${subjectOf(certificate)} has not the name ${role}.${region}.drover (or .nomad), without which no ` +
        "server lets this agent in",
    );
  }
}

function parsed(pem: string, problem: (why: string) => void): X509Certificate[] | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) {
    problem("holds no certificate in PEM");
    return undefined;
  }
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    problem(`holds a certificate that can't be read: ${(error as Error).message}`);
    return undefined;
  }
}

const hasIntermediates = (pem: string): boolean => pem.split("-----BEGIN CERTIFICATE-----").length > 2;

function privateKey(pem: string, problem: () => void): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    // OpenSSL's own words for it say less.
    problem();
    return undefined;
  }
}
