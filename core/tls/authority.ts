/** Makes what `tls` needs: a certificate authority, and certificates of servers, clients and people (RFC 5280). */
import "reflect-metadata";
import { createPrivateKey, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { AsnConvert } from "@peculiar/asn1-schema";
import {
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_nameConstraints,
  NameConstraints,
} from "@peculiar/asn1-x509";
import * as x509 from "@peculiar/x509";

/** A certificate and its key, both in PEM. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

export interface AuthorityOptions {
  readonly domain: string;
  readonly days: number;
  /** The authority may sign names of the domain and localhost alone. */
  readonly nameConstraint: boolean;
}

export type CertificateRole = "server" | "client" | "cli";

export interface CertificateOptions {
  readonly role: CertificateRole;
  readonly region: string;
  readonly domain: string;
  readonly days: number;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

const CURVE = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;
const DAY = 24 * 60 * 60 * 1000;
/** Clocks of a cluster differ; a certificate is good from this long before it was made. Milliseconds. */
const CLOCK_SKEW = 60_000;

const { subtle } = webcrypto;

export async function createAuthority({ domain, days, nameConstraint }: AuthorityOptions): Promise<Issued> {
  const keys = await subtle.generateKey(CURVE, true, ["sign", "verify"]);
  const serialNumber = serial();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber,
    name: `CN=Drover Agent CA ${serialNumber}, O=Drover`,
    ...validity(days),
    signingAlgorithm: SIGNATURE,
    keys: keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(nameConstraint ? [constraint([domain, "localhost"])] : []),
    ],
  });
  return { certificate: pem(certificate), key: await keyPem(keys.privateKey) };
}

/** Throws an Error that says what is wrong with the authority or with what is asked for. */
export async function issueCertificate(authority: Issued, options: CertificateOptions): Promise<Issued> {
  const ca = new x509.X509Certificate(authority.certificate);
  const { basic, allowed } = authorityOf(ca);
  if (!basic) throw new Error(`the certificate of ${ca.subject} is not that of a certificate authority`);
  const name = `${options.role}.${options.region}.${options.domain}`;
  const dns = [...new Set([name, "localhost", ...options.dnsNames])];
  const ips = [...new Set(["127.0.0.1", ...options.ipAddresses])];
  checkNames(dns, ips, allowed);
  const dates = validity(options.days);
  if (dates.notAfter > ca.notAfter) {
    throw new Error(
      `the certificate would outlive its authority, which is good until ${ca.notAfter.toISOString()}: ask for fewer days`,
    );
  }
  const keys = await subtle.generateKey(CURVE, true, ["sign", "verify"]);
  const signer = await signingKey(authority.key, ca);
  const usages =
    options.role === "cli"
      ? [x509.ExtendedKeyUsage.clientAuth]
      : [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${name}`,
    issuer: ca.subjectName,
    ...dates,
    signingAlgorithm: SIGNATURE,
    publicKey: keys.publicKey,
    signingKey: signer,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      new x509.SubjectAlternativeNameExtension([
        ...dns.map((value) => ({ type: "dns" as const, value })),
        ...ips.map((value) => ({ type: "ip" as const, value })),
      ]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await keyPem(keys.privateKey) };
}

function checkNames(
  dns: readonly string[],
  ips: readonly string[],
  allowed: readonly string[] | undefined,
): void {
  for (const name of dns) {
    if (!/^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(name)) throw new Error(`"${name}" is no DNS name`);
    if (allowed !== undefined && !allowed.some((domain) => name === domain || name.endsWith(`.${domain}`))) {
      throw new Error(
        `the authority may not sign the name ${name}: its name constraint allows ${allowed.join(", ")}`,
      );
    }
  }
  for (const address of ips) if (isIP(address) === 0) throw new Error(`"${address}" is no IP address`);
}

/** Whether the certificate may sign others, and the DNS names that it may sign (undefined: any). */
function authorityOf(ca: x509.X509Certificate): { basic: boolean; allowed: readonly string[] | undefined } {
  const constraints = ca.getExtension(id_ce_nameConstraints);
  const permitted =
    constraints === null ? undefined : AsnConvert.parse(constraints.value, NameConstraints).permittedSubtrees;
  return {
    basic: ca.getExtension(x509.BasicConstraintsExtension)?.ca === true,
    allowed: permitted === undefined ? undefined : [...permitted].flatMap(({ base }) => base.dNSName ?? []),
  };
}

function constraint(domains: readonly string[]): x509.Extension {
  const permittedSubtrees = new GeneralSubtrees(
    domains.map((dNSName) => new GeneralSubtree({ base: new GeneralName({ dNSName }) })),
  );
  return new x509.Extension(
    id_ce_nameConstraints,
    true,
    AsnConvert.serialize(new NameConstraints({ permittedSubtrees })),
  );
}

async function signingKey(keyText: string, ca: x509.X509Certificate): Promise<webcrypto.CryptoKey> {
  const key = createPrivateKey(keyText);
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new Error("the authority's key is not one of the curve P-256, which alone is signed with here");
  }
  const imported = await subtle.importKey(
    "pkcs8",
    key.export({ type: "pkcs8", format: "der" }),
    CURVE,
    true,
    ["sign"],
  );
  const { x, y } = await subtle.exportKey("jwk", imported);
  const own = await subtle.exportKey("jwk", await ca.publicKey.export());
  if (x !== own.x || y !== own.y) throw new Error("the authority's key is not that of its certificate");
  return imported;
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - CLOCK_SKEW), notAfter: new Date(now + days * DAY) };
}

/** 127 random bits: positive, and at most 20 bytes (RFC 5280, section 4.1.2.2). */
function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

const pem = (certificate: x509.X509Certificate): string => `${certificate.toString("pem").trim()}\n`;

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await subtle.exportKey("pkcs8", key);
  return createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" })
    .export({ type: "pkcs8", format: "pem" })
    .toString();
}
