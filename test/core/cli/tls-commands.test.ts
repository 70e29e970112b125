import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { LoadedTls } from "../../../core/tls/index.js";
import { NO_TLS, openNetwork } from "../rpc/network/support.js";
import { runCommand } from "./run-command.js";

describe("drover tls", () => {
  const before = process.cwd();
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "drover-tls-"));
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs `drover tls …`, in the folder. */
  async function tls(command: string): Promise<{ code: number; output: string }> {
    const { code, out, err } = await runCommand(["tls", ...command.split(" ")], {});
    return { code, output: out + err };
  }
  const certificate = (name: string) => new X509Certificate(readFileSync(join(folder, name)));

  it("makes in two commands a set with which two servers speak; openssl verifies it; keys are for their owner alone", async () => {
    assert.equal((await tls("ca create")).code, 0);
    const made = await tls("cert create -server");
    assert.equal(made.code, 0, made.output);
    assert.match(made.output, /==> Server certificate saved to: global-server-drover\.pem/);
    assert.deepEqual(readdirSync(folder).sort(), [
      "drover-agent-ca-key.pem",
      "drover-agent-ca.pem",
      "global-server-drover-key.pem",
      "global-server-drover.pem",
    ]);
    for (const key of ["drover-agent-ca-key.pem", "global-server-drover-key.pem"]) {
      assert.equal(statSync(join(folder, key)).mode & 0o777, 0o600, key);
    }
    const verified = spawnSync(
      "openssl",
      [
        "verify",
        "-x509_strict",
        "-CAfile",
        "drover-agent-ca.pem",
        "-purpose",
        "sslserver",
        "global-server-drover.pem",
      ],
      { cwd: folder, encoding: "utf8" },
    );
    assert.equal(verified.stdout, "global-server-drover.pem: OK\n", verified.stderr);

    const settings = {
      ...NO_TLS,
      rpc: true,
      verify_server_hostname: true,
      ca_file: join(folder, "drover-agent-ca.pem"),
      cert_file: join(folder, "global-server-drover.pem"),
      key_file: join(folder, "global-server-drover-key.pem"),
    };
    const owner = { region: "global", server: true };
    const a = await openNetwork({ tls: await LoadedTls.load(settings, owner) });
    const b = await openNetwork({ tls: await LoadedTls.load(settings, owner) });
    try {
      b.network.handle("Test.Echo", async (body) => body);
      const answer = await a.network.call(b.address, "Test.Echo", Buffer.from("x"), { deadline: 10_000 });
      assert.equal(Buffer.from(answer).toString(), "x");
    } finally {
      await a.stop();
      await b.stop();
    }
  });

  it("gives a certificate its role, region, names, addresses and days", async () => {
    await tls("ca create -days 400");
    for (const command of [
      "cert create -client -region eu -days 7 -additional-dnsname node.example.com -additional-ipaddress 10.0.0.7",
      "cert create -cli",
    ]) {
      const { code, output } = await tls(command);
      assert.equal(code, 0, output);
    }
    const client = certificate("eu-client-drover.pem");
    assert.equal(
      client.subjectAltName,
      "DNS:client.eu.drover, DNS:localhost, DNS:node.example.com, IP Address:127.0.0.1, IP Address:10.0.0.7",
    );
    assert.equal(client.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
    const days = (Date.parse(client.validTo) - Date.now()) / 86_400_000;
    assert.ok(days > 6.9 && days <= 7, `${days} days`);
    assert.match(certificate("global-cli-drover.pem").subjectAltName!, /^DNS:cli\.global\.drover/);
    assert.deepEqual(
      certificate("global-cli-drover.pem").keyUsage,
      ["1.3.6.1.5.5.7.3.2"],
      "of clients alone",
    );
  });

  it("overwrites nothing", async () => {
    await tls("ca create");
    const original = readFileSync(join(folder, "drover-agent-ca.pem"), "utf8");
    const again = await tls("ca create");
    assert.equal(again.code, 1);
    assert.match(again.output, /drover-agent-ca\.pem exists already and is not overwritten/);
    assert.equal(readFileSync(join(folder, "drover-agent-ca.pem"), "utf8"), original);
    writeFileSync(join(folder, "global-server-drover-key.pem"), "mine");
    assert.equal((await tls("cert create -server")).code, 1);
    assert.equal(readFileSync(join(folder, "global-server-drover-key.pem"), "utf8"), "mine");
    assert.ok(!readdirSync(folder).includes("global-server-drover.pem"));
  });

  it("keeps to the authority's name constraint and days", async () => {
    await tls("ca create -domain nomad -name-constraint -days 10");
    const outside = await tls("cert create -server -domain nomad -days 5 -additional-dnsname a.example.com");
    assert.equal(outside.code, 1);
    assert.match(
      outside.output,
      /may not sign the name a\.example\.com: its name constraint allows nomad, localhost/,
    );
    assert.match(
      (await tls("cert create -server -domain nomad -days 11")).output,
      /would outlive its authority/,
    );
    assert.equal((await tls("cert create -server -domain nomad -days 5")).code, 0);
    const verified = spawnSync(
      "openssl",
      ["verify", "-CAfile", "nomad-agent-ca.pem", "global-server-nomad.pem"],
      {
        cwd: folder,
        encoding: "utf8",
      },
    );
    assert.equal(verified.stdout, "global-server-nomad.pem: OK\n", verified.stderr);
  });

  it("says what is wrong with what it is asked for", async () => {
    assert.match(
      (await tls("cert create -server")).output,
      /-ca can't be read: .*"drover tls ca create" makes an authority/,
    );
    await tls("ca create");
    for (const [command, words] of [
      ["cert create", /give one of -server, -client and -cli/],
      ["cert create -server -client", /give one of/],
      ["cert create -server -days 0", /-days "0" must be a whole number/],
      ["cert create -server -domain example", /-domain "example" is none that servers know/],
      ["cert create -server -region a/b", /-region "a\/b" can't be a part of a DNS name/],
      ["cert create -server -additional-ipaddress 1.2.3", /"1\.2\.3" is no IP address/],
      ["cert create -server -additional-dnsname a,b", /"a,b" is no DNS name/],
    ] as const) {
      const { code, output } = await tls(command);
      assert.equal(code, 1, command);
      assert.match(output, words);
    }
    await tls("cert create -server");
    const leaf = await tls(
      "cert create -client -ca global-server-drover.pem -key global-server-drover-key.pem",
    );
    assert.match(leaf.output, /is not that of a certificate authority/);
    assert.match(
      (await tls("cert create -client -key global-server-drover-key.pem")).output,
      /key is not that of its certificate/,
    );
  });
});
