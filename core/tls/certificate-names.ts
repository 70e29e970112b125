/** Who a certificate says its owner is: `server.<region>.drover`, `client.<region>.drover`, or the same with `.nomad`. */
import type { X509Certificate } from "node:crypto";

export interface CertificateIdentity {
  readonly role: "server" | "client";
  readonly region: string;
}

const ROLE_NAME = /^(server|client)\.(.+)\.(?:drover|nomad)$/;

/** DNS names of the certificate's subject alternative names. */
export function dnsNames(certificate: X509Certificate): string[] {
  // Node quotes names that hold a comma or a quote, so that none can pass for two (CVE-2021-44532).
  const names = certificate.subjectAltName?.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return names.flatMap((name) => (name.trim().startsWith("DNS:") ? [name.trim().slice(4)] : []));
}

export function identities(certificate: X509Certificate): CertificateIdentity[] {
  return dnsNames(certificate).flatMap((name) => {
    const [, role, region] = ROLE_NAME.exec(name) ?? [];
    return region === undefined ? [] : [{ role: role as CertificateIdentity["role"], region }];
  });
}

/** The one that counts: a server's before a client's, this region's before another's. Undefined where there is none. */
export function identityOf(certificate: X509Certificate, region: string): CertificateIdentity | undefined {
  const all = identities(certificate);
  const find = (role: string, own: boolean) =>
    all.find((one) => one.role === role && (one.region === region) === own);
  return find("server", true) ?? find("server", false) ?? find("client", true) ?? find("client", false);
}

/** `CN=x, O=y` instead of a line each. */
export function subjectOf(certificate: X509Certificate): string {
  return certificate.subject.split("\n").join(", ") || "no subject";
}

/** Why a certificate that OpenSSL doesn't accept is none. */
export function whyUntrusted(certificate: X509Certificate, code: string): string {
  const who = `the certificate of ${subjectOf(certificate)}`;
  const now = Date.now();
  if (now > Date.parse(certificate.validTo))
    return `${who} has expired: it was valid until ${certificate.validTo}`;
  if (now < Date.parse(certificate.validFrom))
    return `${who} is not valid yet: it is from ${certificate.validFrom}`;
  switch (code) {
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return `the CA that signed ${who} (${certificate.issuer.split("\n").join(", ")}) is not valid now (${code})`;
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "CERT_SIGNATURE_FAILURE":
      return `${who} is not signed by the CA of tls.ca_file, but by ${certificate.issuer.split("\n").join(", ")} (${code})`;
    default:
      return `${who} is not acceptable (${code})`;
  }
}
