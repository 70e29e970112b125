import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { eventually } from "@drover/plugin-sdk/testing";
import { createAuthority, type Issued, issueCertificate } from "../../core/tls/authority.js";
import { drover, freePorts, type Running, run } from "./process.js";

describe("an agent with TLS", () => {
  let folder: string;
  let agent: Running;
  let http: number;
  let rpc: number;
  let broker: number;
  let authority: Issued;
  const at = (name: string): string => join(folder, name);

  async function issue(name: string, role: "server" | "cli"): Promise<void> {
    const { certificate, key } = await issueCertificate(authority, {
      role,
      region: "global",
      domain: "drover",
      days: 5,
      dnsNames: [],
      ipAddresses: [],
    });
    writeFileSync(at(`${name}.pem`), certificate);
    writeFileSync(at(`${name}-key.pem`), key, { mode: 0o600 });
  }

  const config = () =>
    writeFileSync(
      at("agent.hcl"),
      `data_dir = "${at("data")}"\nbind_addr = "127.0.0.1"\nlog_level = "INFO"\n` +
        `ports {\n  http = ${http}\n  rpc = ${rpc}\n}\nserver {\n  enabled = true\n  bootstrap_expect = 1\n}\n` +
        `plugin "mqtt" {\n  config {\n    broker {\n      listen = "127.0.0.1:${broker}"\n    }\n  }\n}\n` +
        `tls {\n  http = true\n  rpc = true\n  ca_file = "${at("ca.pem")}"\n  cert_file = "${at("server.pem")}"\n` +
        `  key_file = "${at("server-key.pem")}"\n  verify_server_hostname = true\n  verify_https_client = true\n}\n`,
    );

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "drover-tls-"));
    [http, rpc, broker] = (await freePorts(3)) as [number, number, number];
    authority = await createAuthority({ domain: "drover", days: 10, nameConstraint: false });
    writeFileSync(at("ca.pem"), authority.certificate);
    await issue("server", "server");
    await issue("cli", "cli");
    config();
    agent = drover(["agent", "-config", at("agent.hcl")]);
    await eventually("the agent", () => {
      if (!agent.alive) assert.fail(agent.output);
      return agent.output.includes("agent started");
    });
  });
  after(async () => {
    await agent.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const ours = (): string[] => [
    `-ca-cert=${at("ca.pem")}`,
    `-client-cert=${at("cli.pem")}`,
    `-client-key=${at("cli-key.pem")}`,
  ];
  const members = (args: readonly string[], env: Record<string, string> = {}) =>
    run(["server", "members", `-address=https://127.0.0.1:${http}`, ...args], env);

  it("serves the API over HTTPS to those with a certificate, by flags and by environment", async () => {
    const byFlags = await members(ours());
    assert.equal(byFlags.code, 0, byFlags.output);
    assert.match(byFlags.output, /alive/);
    const byEnvironment = await members([], {
      NOMAD_CACERT: at("ca.pem"),
      NOMAD_CLIENT_CERT: at("cli.pem"),
      DROVER_CLIENT_KEY: at("cli-key.pem"),
    });
    assert.equal(byEnvironment.code, 0, byEnvironment.output);
  });

  it("says in words what is wrong with a caller's TLS", async () => {
    const cases: [readonly string[], RegExp][] = [
      [[], /signed by a CA that isn't known here .*-ca-cert or NOMAD_CACERT/],
      [[`-ca-cert=${at("ca.pem")}`], /the agent asks for a certificate|the connection was closed/],
      [[`-client-cert=${at("cli.pem")}`], /-client-cert and -client-key must be given together/],
      [[`-ca-cert=${at("missing.pem")}`], /-ca-cert: .*missing\.pem/],
      [[...ours(), "-tls-server-name=client.global.drover"], /client\.global\.drover/],
    ];
    for (const [args, words] of cases) {
      const { code, output } = await members(args);
      assert.equal(code, 1, output);
      assert.match(output, words);
    }
    assert.equal((await members([...ours(), "-tls-server-name=server.global.drover"])).code, 0);
    assert.equal((await members([...ours().slice(1), "-tls-skip-verify"])).code, 0);
    const plain = await run(["server", "members", `-address=http://127.0.0.1:${http}`]);
    assert.equal(plain.code, 1);
    assert.match(plain.output, /the connection was closed \(does the agent have tls\.http on/);
  });

  const serial = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const sent = request(
        { host: "127.0.0.1", port: http, path: "/v1/status/leader", agent: false, ...client },
        (answer) => {
          const { serialNumber }: PeerCertificate = (answer.socket as TLSSocket).getPeerCertificate();
          answer.resume().once("end", () => resolve(serialNumber));
        },
      );
      sent.once("error", reject);
      sent.end();
    });
  let client: object;

  it("takes new certificates and a log level at SIGHUP, and nothing where anything is wrong", async () => {
    client = {
      ca: authority.certificate,
      cert: readFileSync(at("cli.pem")),
      key: readFileSync(at("cli-key.pem")),
    };
    const before = await serial();
    copyFileSync(at("server.pem"), at("old.pem"));

    // A certificate without its key, and a plugin's setting that is none: both are said, neither is taken.
    await issue("next", "server");
    copyFileSync(at("next.pem"), at("server.pem"));
    const good = readFileSync(at("agent.hcl"), "utf8");
    writeFileSync(
      at("agent.hcl"),
      good.replace("config {", "config {\n    colour = 1").replace('"INFO"', '"DEBUG"'),
    );
    agent.child.kill("SIGHUP");
    await eventually("the refusal", () => /configuration not reloaded, the old one stays/.test(agent.output));
    const [line] = /.*configuration not reloaded.*/.exec(agent.output)!;
    assert.match(line, /tls\.key_file: .*is not the key of the certificate/);
    assert.match(line, /colour: unknown key/);
    assert.equal(await serial(), before);
    assert.ok(!agent.output.includes("[DEBUG]"), "the log level stays too");

    copyFileSync(at("next-key.pem"), at("server-key.pem"));
    writeFileSync(at("agent.hcl"), good.replace('"INFO"', '"DEBUG"'));
    agent.child.kill("SIGHUP");
    await eventually("the reload", () => /configuration reloaded:.*certificates=true/.test(agent.output));
    assert.notEqual(await serial(), before);
    await eventually("the new log level", () => agent.output.includes("[DEBUG]"));
    const still = await members(ours());
    assert.equal(still.code, 0, still.output);
  });

  it("does not start with certificates that are none, and says everything that is wrong with them", async () => {
    config();
    const broken = readFileSync(at("agent.hcl"), "utf8")
      .replace(at("ca.pem"), at("absent.pem"))
      .replace(at("server.pem"), at("agent.hcl"))
      .replace(at("data"), at("data2"));
    writeFileSync(at("broken.hcl"), broken);
    const { code, output } = await run(["agent", "-config", at("broken.hcl")]);
    assert.equal(code, 1);
    assert.match(output, /tls\.ca_file: can't be read: .*absent\.pem/);
    assert.match(output, /tls\.cert_file: .*agent\.hcl holds no certificate in PEM/);
  });
});
