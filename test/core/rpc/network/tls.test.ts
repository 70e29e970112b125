import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import type { AgentTls, RpcCaller, RpcError, TlsConfiguration } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import type { Http2Network } from "../../../../core/rpc/network/http2-network.js";
import { LoadedTls } from "../../../../core/tls/index.js";
import { CertificateFolder } from "./certificates.js";
import { type LogLine, openNetwork, recordingLogger } from "./support.js";

interface Opened {
  readonly network: Http2Network;
  readonly address: string;
  readonly tls: LoadedTls;
  readonly lines: LogLine[];
}

const soon = { deadline: 10_000 };
const nothing = new Uint8Array();

describe("TLS between servers", () => {
  let ours: CertificateFolder;
  let theirs: CertificateFolder;
  const stops: (() => Promise<void>)[] = [];
  before(async () => {
    [ours, theirs] = await Promise.all([CertificateFolder.create(), CertificateFolder.create()]);
  });
  after(async () => {
    await Promise.all([ours.remove(), theirs.remove()]);
  });
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
  });

  /** A network with these certificates, whatever is wrong with them. */
  async function open(settings: TlsConfiguration, region = "global", role: "server" | "client" = "server") {
    const tls = await LoadedTls.load(settings, { region, server: role === "server" });
    return openWith(tls, region, tls);
  }

  async function openWith(tls: AgentTls, region: string, loaded?: LoadedTls): Promise<Opened> {
    const { log, lines } = recordingLogger();
    const { network, address, stop } = await openNetwork({ tls, region, log });
    stops.push(stop);
    network.handle("Test.Echo", async (body) => body);
    network.handle(
      "Test.Who",
      async (_body, caller: RpcCaller) => Buffer.from(JSON.stringify(caller.identity ?? null)),
      {
        clients: true,
        otherRegions: true,
      },
    );
    return { network, address, tls: loaded as LoadedTls, lines };
  }

  const plain = () =>
    openWith(
      {
        current: () => ({ config: { ...NO } as TlsConfiguration, material: undefined }),
        onChange: () => () => undefined,
      },
      "global",
    );
  const NO = { rpc: false, rpc_upgrade_mode: false };
  const who = async (from: Opened, to: Opened, region?: string): Promise<unknown> =>
    JSON.parse(
      Buffer.from(
        await from.network.call(
          to.address,
          "Test.Who",
          nothing,
          region === undefined ? soon : { ...soon, region },
        ),
      ).toString(),
    );
  const warned = (opened: Opened, pattern: RegExp) =>
    eventually(`${pattern} in the log`, () =>
      opened.lines.some(({ level, text }) => level === "warn" && pattern.test(text)),
    );

  it("servers of one authority and region speak, and know each other's role", async () => {
    const a = await open(await ours.settings("server"));
    const b = await open(await ours.settings("server"));
    assert.deepEqual(await who(a, b), { role: "server", region: "global" });
    assert.equal(
      Buffer.from(await b.network.call(a.address, "Test.Echo", Buffer.from("x"), soon)).toString(),
      "x",
    );
  });

  it("a client's certificate opens what is open to clients, and nothing else", async () => {
    const server = await open(await ours.settings("server"));
    const client = await open(await ours.settings("client"), "global", "client");
    assert.deepEqual(await who(client, server), { role: "client", region: "global" });
    await assert.rejects(client.network.call(server.address, "Test.Echo", nothing, soon), {
      code: "ERR_RPC_REFUSED",
      message: /Test\.Echo is for servers, .*client\.global/,
    });
    await warned(server, /Test\.Echo is for servers/);
  });

  it("a server does not take a client for a server, where verify_server_hostname is on", async () => {
    const client = await open(await ours.settings("client"), "global", "client");
    const careful = await open(await ours.settings("server"));
    await assert.rejects(who(careful, client), {
      code: "ERR_RPC_REFUSED",
      message: /CN=client\.global\.drover has not the name server\.global\.drover/,
    });
    await warned(client, /a peer refuses this server.*CN=client\.global\.drover/);
    const trusting = await open(await ours.settings("server", "global", { verify_server_hostname: false }));
    assert.deepEqual(await who(trusting, client), { role: "server", region: "global" });
  });

  it("a client of another region is refused whatever it calls, at both ends in words", async () => {
    const server = await open(await ours.settings("server"));
    const client = await open(await ours.settings("client", "eu"), "eu", "client");
    await assert.rejects(who(client, server, "global"), {
      code: "ERR_RPC_REFUSED",
      message: /a client of region "eu" may not speak to servers of region "global"/,
    });
    await warned(server, /a client of region \\"eu\\"/);
  });

  it("a server of another region reaches what is open to other regions, and nothing else", async () => {
    const server = await open(await ours.settings("server"));
    const far = await open(await ours.settings("server", "eu"), "eu");
    assert.deepEqual(await who(far, server, "global"), { role: "server", region: "eu" });
    await assert.rejects(
      far.network.call(server.address, "Test.Echo", nothing, { ...soon, region: "global" }),
      {
        code: "ERR_RPC_REFUSED",
        message: /Test\.Echo is for region "global" alone/,
      },
    );
    await assert.rejects(who(far, server), { code: "ERR_RPC_REFUSED", message: /server\.eu\.drover/ });
  });

  it("a caller that says it is of another region than its certificate is refused", async () => {
    const server = await open(await ours.settings("server"));
    const tls = await LoadedTls.load(await ours.settings("server", "eu"), { region: "eu", server: true });
    const liar = await openWith(tls, "global");
    await assert.rejects(who(liar, server), {
      code: "ERR_RPC_REFUSED",
      message: /certificate is of region "eu", and it says that it is of "global"/,
    });
  });

  it("a certificate of another authority is refused at both ends, naming subject and issuer", async () => {
    const server = await open(await ours.settings("server"));
    const stranger = await open(await theirs.settings("server"));
    await assert.rejects(who(stranger, server), {
      code: "ERR_RPC_REFUSED",
      message: /CN=server\.global\.drover is not signed by the CA of tls\.ca_file, but by CN=Drover Agent CA/,
    });
    await warned(server, /is not signed by the CA/);
    // The stranger takes our authority's certificates, so that it is the server that refuses.
    const settings = await theirs.settings("server");
    const material = {
      ca: await readFile(ours.ca, "utf8"),
      cert: await readFile(settings.cert_file, "utf8"),
      key: await readFile(settings.key_file, "utf8"),
      minVersion: "TLSv1.2" as const,
      honorCipherOrder: false,
    };
    const trusting = await openWith(
      { current: () => ({ config: settings, material }), onChange: () => () => undefined },
      "global",
    );
    await assert.rejects(who(trusting, server), {
      code: "ERR_RPC_REFUSED",
      message: /is not signed by the CA/,
    });
  });

  it("an expired certificate is refused at both ends with its dates, and an agent doesn't start with one", async (context) => {
    const server = await open(await ours.settings("server"));
    const settings = await ours.settings("server", "global", {}, 1);
    // As if it had been made long ago: the certificate is made while the clock of this process stands in the past.
    context.mock.timers.enable({ apis: ["Date"], now: Date.now() - 3 * 86_400_000 });
    const { certificate, key } = await ours.issue("server", "global", 1);
    context.mock.timers.reset();
    await writeFile(settings.cert_file, certificate);
    await writeFile(settings.key_file, key);
    await assert.rejects(
      LoadedTls.load(settings, { region: "global", server: true }),
      /has expired: it was valid until/,
    );
    const material = {
      ca: await readFile(ours.ca, "utf8"),
      cert: certificate,
      key,
      minVersion: "TLSv1.2" as const,
      honorCipherOrder: false,
    };
    const late = await openWith(
      { current: () => ({ config: settings, material }), onChange: () => () => undefined },
      "global",
    );
    await assert.rejects(who(late, server), {
      code: "ERR_RPC_REFUSED",
      message: /CN=server\.global\.drover has expired: it was valid until .* GMT/,
    });
    await warned(server, /has expired: it was valid until/);
    await assert.rejects(who(server, late), { code: "ERR_RPC_REFUSED", message: /has expired/ });
    await warned(late, /a peer refuses this server.*has expired/);
  });

  it("plain TCP is refused where TLS is on, and taken in upgrade mode", async () => {
    const server = await open(await ours.settings("server"));
    const bare = await plain();
    await assert.rejects(who(bare, server), {
      code: "ERR_RPC_REFUSED",
      message: /takes TLS only \(tls\.rpc\)/,
    });
    await warned(server, /"peer":"127\.0\.0\.1:\d+".*takes TLS only/);
    const upgrading = await open(await ours.settings("server", "global", { rpc_upgrade_mode: true }));
    assert.equal(await who(bare, upgrading), null);
    assert.deepEqual(await who(server, upgrading), { role: "server", region: "global" });
    assert.equal(await who(upgrading, bare), null);
  });

  it("TLS to a server without it is an error in words at both ends", async () => {
    const server = await open(await ours.settings("server"));
    const bare = await plain();
    await assert.rejects(who(server, bare), (error: RpcError) => {
      assert.equal(error.code, "ERR_RPC_UNREACHABLE");
      assert.match(error.message, /TLS handshake \(is tls\.rpc on there too\?\)/);
      return true;
    });
    await warned(bare, /it speaks TLS, and tls\.rpc is off here.*127\.0\.0\.1/);
  });

  it("new certificates are used by new sessions while calls and streams go on over the old ones", async () => {
    const [settingsA, settingsB] = [await ours.settings("server"), await ours.settings("server")];
    const [a, b] = [await open(settingsA), await open(settingsB)];
    let answer: (() => void) | undefined;
    b.network.handle("Test.Slow", (body) => new Promise((resolve) => (answer = () => resolve(body))));
    b.network.handleStream("Test.Echoes", async (there) => {
      there.write("open ");
      there.pipe(there);
    });
    const slow = a.network.call(b.address, "Test.Slow", Buffer.from("kept"), soon);
    const stream = await a.network.stream(b.address, "Test.Echoes", nothing, soon);
    await eventually("the slow call to arrive", () => answer !== undefined);

    // Both change to another authority: a session that is made now works only with the new certificates.
    const next = [await theirs.settings("server"), await theirs.settings("server")];
    for (const [index, opened] of [a, b].entries()) (await opened.tls.prepare(next[index]!))?.();
    assert.deepEqual(await who(a, b), { role: "server", region: "global" });
    await assert.rejects(who(await open(settingsA), b), { code: "ERR_RPC_REFUSED" });

    answer!();
    assert.equal(Buffer.from(await slow).toString(), "kept");
    stream.end("still");
    let text = "";
    for await (const part of stream) text += String(part);
    assert.equal(text, "open still");
    await eventually("the old session to end", () => a.network.outgoingSessions === 1);
  });

  it("calls go on without one lost while certificates change again and again", async () => {
    const [a, b] = [await open(await ours.settings("server")), await open(await ours.settings("server"))];
    let changing = true;
    let calls = 0;
    const callers = Array.from({ length: 20 }, async () => {
      while (changing) {
        const text = `call ${calls++}`;
        const answer = await a.network.call(b.address, "Test.Echo", Buffer.from(text), soon);
        assert.equal(Buffer.from(answer).toString(), text);
      }
    });
    for (let change = 0; change < 5; change++) {
      for (const { tls } of [b, a]) {
        (await tls.prepare(await ours.settings("server")))?.();
        const before = calls;
        await eventually("calls over the new sessions", () => calls > before + 50);
      }
    }
    changing = false;
    await Promise.all(callers);
    await eventually("one session to be left", () => a.network.outgoingSessions === 1);
  });

  it("wrong new certificates change nothing, and everything that is wrong is said", async () => {
    const settings = await ours.settings("server");
    const [a, b] = [await open(settings), await open(await ours.settings("server"))];
    const other = await ours.settings("server");
    await writeFile(`${ours.folder}/garbage.pem`, "garbage");
    await assert.rejects(
      a.tls.prepare({
        ...settings,
        ca_file: `${ours.folder}/garbage.pem`,
        cert_file: `${ours.folder}/missing.pem`,
        tls_cipher_suites: "TLS_FAST",
      }),
      (error: Error) => {
        assert.match(error.message, /tls\.ca_file: .*garbage\.pem holds no certificate/);
        assert.match(error.message, /tls\.cert_file: can't be read: .*missing\.pem/);
        assert.match(error.message, /tls\.tls_cipher_suites: unknown TLS_FAST/);
        return true;
      },
    );
    await assert.rejects(
      a.tls.prepare({ ...settings, key_file: other.key_file }),
      /is not the key of the certificate/,
    );
    await assert.rejects(a.tls.prepare({ ...settings, ca_file: theirs.ca }), /is not signed by the CA/);
    await assert.rejects(
      a.tls.prepare(await ours.settings("server", "eu")),
      /has not the name server\.global\.drover/,
    );
    assert.deepEqual(await who(a, b), { role: "server", region: "global" });
    assert.equal(await a.tls.prepare(settings), undefined);
  });

  it("openssl's client gets through the handshake with a certificate, and not with too old a version", async () => {
    const server = await open(await ours.settings("server", "global", { tls_min_version: "tls13" }));
    const client = await ours.settings("client");
    const args = [
      "-connect",
      server.address,
      "-CAfile",
      ours.ca,
      "-cert",
      client.cert_file,
      "-key",
      client.key_file,
    ];
    const good = await openssl(
      "s_client",
      ...args,
      "-alpn",
      "h2",
      "-servername",
      "server.global.drover",
      "-verify_hostname",
      "server.global.drover",
    );
    assert.match(good, /Verify return code: 0 \(ok\)/);
    assert.match(good, /ALPN protocol: h2/);
    assert.match(good, /TLSv1\.3/);
    assert.match(
      await openssl("s_client", ...args, "-tls1_2"),
      /alert protocol version|no protocols available/,
    );
    await warned(server, /TLS handshake failed/);
    assert.deepEqual(await who(server, server), { role: "server", region: "global" });
  });

  it("the cipher suites of the configuration are those that are spoken", async () => {
    const server = await open(
      await ours.settings("server", "global", {
        tls_cipher_suites: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
      }),
    );
    const args = ["s_client", "-connect", server.address, "-CAfile", ours.ca, "-tls1_2", "-cipher"];
    assert.match(
      await openssl(...args, "ECDHE-ECDSA-AES128-GCM-SHA256"),
      /Cipher is ECDHE-ECDSA-AES128-GCM-SHA256/,
    );
    assert.match(await openssl(...args, "ECDHE-ECDSA-AES256-GCM-SHA384"), /handshake failure/);
  });

  it("a peer that says nothing in the handshake is given up in its time", async () => {
    // A listener that says nothing: the handshake ends at its time.
    const silent = createServer((socket) => void socket.resume());
    await new Promise<void>((resolve) => void silent.listen(0, "127.0.0.1", resolve));
    stops.push(() => new Promise((resolve) => void silent.close(() => resolve())));
    const { port } = silent.address() as { port: number };
    const tls = await LoadedTls.load(await ours.settings("server"), { region: "global", server: true });
    const { network, stop } = await openNetwork({ tls, handshakeTimeout: 200 });
    stops.push(stop);
    await assert.rejects(network.call(`127.0.0.1:${port}`, "Test.Who", nothing, soon), {
      code: "ERR_RPC_UNREACHABLE",
      message: /no TLS within 200 ms/,
    });
  });
});

/** Runs openssl with an empty standard input; gives all that it printed. */
function openssl(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    }
    child.once("error", reject);
    child.once("close", () => resolve(output));
  });
}
