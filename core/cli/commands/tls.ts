import { access, readFile, unlink, writeFile } from "node:fs/promises";
import type { Command } from "commander";
import type { CertificateRole, Issued } from "../../tls/authority.js";
import { ExitError } from "../exit.js";
import { type CommandIo, ioOf } from "../io.js";
import { messageOf, withExamples } from "./session.js";

interface CaFlags {
  readonly domain: string;
  readonly days: string;
  readonly nameConstraint?: boolean;
}

interface CertFlags {
  readonly server?: boolean;
  readonly client?: boolean;
  readonly cli?: boolean;
  readonly region: string;
  readonly domain: string;
  readonly days: string;
  readonly additionalDnsname: readonly string[];
  readonly additionalIpaddress: readonly string[];
  readonly ca?: string;
  readonly key?: string;
}

const several = (value: string, before: readonly string[]): string[] => [...before, value];
/** Domains that servers know the role names of. */
const DOMAINS = ["drover", "nomad"];

/** `tls ca create`, `tls cert create` */
export function register(program: Command): void {
  const tls = program
    .command("tls")
    .summary("make certificates for servers, clients and people")
    .description("Makes an authority and certificates for the tls block of the agents' configuration.");
  const ca = tls.command("ca").description("The certificate authority of a cluster.");
  withExamples(
    ca
      .command("create")
      .summary("make an authority")
      .description("Writes DOMAIN-agent-ca.pem and DOMAIN-agent-ca-key.pem to the working folder.")
      .option("--domain <name>", "domain of the names: drover or nomad", "drover")
      .option("--days <n>", "days that the authority is good for", "1825")
      .option("--name-constraint", "let the authority sign names of its domain and localhost alone")
      .action((flags: CaFlags, self: Command) => createCa(flags, ioOf(self))),
    ["drover tls ca create", "an authority for five years"],
  );
  const cert = tls.command("cert").description("Certificates of one authority.");
  withExamples(
    cert
      .command("create")
      .summary("make a certificate")
      .description("Writes REGION-ROLE-DOMAIN.pem and REGION-ROLE-DOMAIN-key.pem to the working folder.")
      .option("--server", "for a server: server.REGION.DOMAIN")
      .option("--client", "for a client agent: client.REGION.DOMAIN")
      .option("--cli", "for people and programs that use the HTTP API: cli.REGION.DOMAIN")
      .option("--region <name>", "region of the agent", "global")
      .option("--domain <name>", "domain of the names: drover or nomad", "drover")
      .option("--days <n>", "days that the certificate is good for", "365")
      .option("--additional-dnsname <name>", "another name; may be given several times", several, [])
      .option("--additional-ipaddress <address>", "another address; may be given several times", several, [])
      .option("--ca <file>", "certificate of the authority (default DOMAIN-agent-ca.pem)")
      .option("--key <file>", "key of the authority (default DOMAIN-agent-ca-key.pem)")
      .action((flags: CertFlags, self: Command) => createCert(flags, ioOf(self))),
    ["drover tls cert create -server", "for the servers of the region global"],
    [
      "drover tls cert create -client -region eu -additional-ipaddress 10.0.0.7",
      "for clients of another region",
    ],
  );
}

async function createCa(flags: CaFlags, io: CommandIo): Promise<void> {
  checkDomain(flags.domain);
  const base = `${flags.domain}-agent-ca`;
  const days = daysOf(flags.days);
  const { createAuthority } = await import("../../tls/authority.js");
  const authority = await createAuthority({
    domain: flags.domain,
    days,
    nameConstraint: flags.nameConstraint === true,
  });
  await save(base, authority, io, "CA certificate", "CA key");
}

async function createCert(flags: CertFlags, io: CommandIo): Promise<void> {
  checkDomain(flags.domain);
  const roles = (["server", "client", "cli"] as const).filter((role) => flags[role] === true);
  const [role] = roles;
  if (role === undefined || roles.length > 1)
    throw new ExitError(1, "Please give one of -server, -client and -cli");
  if (!/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(flags.region)) {
    throw new ExitError(
      1,
      `-region "${flags.region}" can't be a part of a DNS name: use letters, digits and dashes`,
    );
  }
  const days = daysOf(flags.days);
  const authority = {
    certificate: await readPem(flags.ca ?? `${flags.domain}-agent-ca.pem`, "-ca"),
    key: await readPem(flags.key ?? `${flags.domain}-agent-ca-key.pem`, "-key"),
  };
  const { issueCertificate } = await import("../../tls/authority.js");
  let issued: Issued;
  try {
    issued = await issueCertificate(authority, {
      role,
      region: flags.region,
      domain: flags.domain,
      days,
      dnsNames: flags.additionalDnsname,
      ipAddresses: flags.additionalIpaddress,
    });
  } catch (error) {
    throw new ExitError(1, `Error creating certificate: ${messageOf(error)}`);
  }
  await save(
    `${flags.region}-${role}-${flags.domain}`,
    issued,
    io,
    `${titleOf(role)} certificate`,
    `${titleOf(role)} key`,
  );
}

const titleOf = (role: CertificateRole): string => ({ server: "Server", client: "Client", cli: "CLI" })[role];

function checkDomain(domain: string): void {
  if (!DOMAINS.includes(domain)) {
    throw new ExitError(1, `-domain "${domain}" is none that servers know: use ${DOMAINS.join(" or ")}`);
  }
}

function daysOf(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > 36_500) {
    throw new ExitError(1, `-days "${text}" must be a whole number between 1 and 36500`);
  }
  return days;
}

async function readPem(path: string, flag: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new ExitError(
      1,
      `${flag} can't be read: ${messageOf(error)}. "drover tls ca create" makes an authority; ${flag} names another.`,
    );
  }
}

/** Writes both files or none; never over one that is there. */
async function save(
  base: string,
  issued: Issued,
  io: CommandIo,
  certificate: string,
  key: string,
): Promise<void> {
  const [certificatePath, keyPath] = [`${base}.pem`, `${base}-key.pem`];
  for (const path of [certificatePath, keyPath]) {
    if (await exists(path))
      throw new ExitError(1, `${path} exists already and is not overwritten: move it away first`);
  }
  await write(keyPath, issued.key, 0o600);
  try {
    await write(certificatePath, issued.certificate, 0o644);
  } catch (error) {
    await unlink(keyPath);
    throw error;
  }
  io.out(`==> ${certificate} saved to: ${certificatePath}\n==> ${key} saved to: ${keyPath}`);
}

async function write(path: string, text: string, mode: number): Promise<void> {
  try {
    await writeFile(path, text, { mode, flag: "wx" });
  } catch (error) {
    throw new ExitError(1, `Error writing ${path}: ${messageOf(error)}`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    // Whatever else is wrong with it shows when it is written.
    return false;
  }
}
