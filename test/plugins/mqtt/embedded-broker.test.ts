import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { promisify } from "node:util";
import { eventually } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { connect, type MqttClient } from "mqtt";
import { PacketGuard } from "../../../plugins/mqtt/packet-guard.js";
import { TokenBucket } from "../../../plugins/mqtt/token-bucket.js";
import { Fixtures, TestServer as Server, type TestServer, topics } from "./fixtures.js";

const fixtures = new Fixtures();
afterEach(() => fixtures.close());

function client(server: TestServer, clientId: string, options: object = {}): MqttClient {
  const client = connect(server.url, { clientId, reconnectPeriod: 0, protocolVersion: 4, ...options });
  client.on("error", () => undefined);
  fixtures.defer(() => client.endAsync(true));
  return client;
}

/** mqtt types its events more narrowly than `once` of node:events takes. */
function event(client: MqttClient, name: "connect" | "close"): Promise<void> {
  return new Promise((resolve) => client.once(name, () => resolve()));
}

async function rawSocket(server: TestServer): Promise<Socket> {
  const socket = connectTcp(server.port, "127.0.0.1");
  socket.on("error", () => undefined);
  fixtures.defer(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

describe("the embedded broker", () => {
  it("closes connections that don't speak MQTT, says so once, and goes on", async () => {
    const server = await fixtures.server();
    const agent = await fixtures.connected(server);
    const garbage = [
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      randomBytes(4_000).fill(0xff, 0, 1),
      Buffer.from("10ffffffff7f", "hex"),
    ];
    for (let count = 0; count < 12; count++) {
      const socket = await rawSocket(server);
      socket.resume().write(garbage[count % 3]!);
      await once(socket, "close");
    }
    await eventually("the count", () => server.refused("not_mqtt") >= 12);
    assert.equal(server.log.lines.filter((line) => line.fields.reason === "not_mqtt").length, 1);
    await agent.link.call("node.heartbeat", { status: "ready" });
  });

  it("closes a connection that announces a packet above the limit, before its bytes come", async () => {
    const server = await fixtures.server();
    const mine = randomUUID();
    const sender = client(server, mine);
    await event(sender, "connect");
    sender.stream.write(Buffer.from("30ffffff7f", "hex"));
    await event(sender, "close");
    await eventually("the count", () => server.refused("denied") === 1);
  });

  it("confines a client to the topics of the node that it is", async () => {
    const server = await fixtures.server();
    const [mine, other] = [randomUUID(), randomUUID()];
    for (const topic of [
      topics.up(other),
      topics.down(mine),
      `${topics.stream(other, 1)}`,
      "elsewhere",
      "$SYS/x",
    ]) {
      const sender = client(server, mine);
      await event(sender, "connect");
      sender.publish(topic, "x");
      await event(sender, "close");
    }
    assert.equal(server.carrier.up.length, 0);
    const reader = client(server, mine);
    await event(reader, "connect");
    for (const filter of [
      "#",
      "drover/v1/global/#",
      topics.down(other),
      "drover/v1/global/down/+",
      topics.up(mine),
      "$SYS/#",
    ]) {
      const granted = await reader.subscribeAsync(filter).catch((error: Error) => error);
      if (granted instanceof Error) assert.match(granted.message, /Unspecified error|refused|128/i);
      else assert.equal(granted[0]?.qos, 128, filter);
    }
    assert.equal((await reader.subscribeAsync(topics.down(mine), { qos: 1 }))[0]?.qos, 1);
    reader.publish(topics.up(mine), "taken");
    await eventually("its own topic", () => server.carrier.up.length === 1);
  });

  it("refuses a last will on another node's topic and a client id that is no node's", async () => {
    const server = await fixtures.server();
    const will = { topic: topics.status("other"), payload: Buffer.from("x"), qos: 1 as const, retain: false };
    for (const attempt of [client(server, "mine", { will }), client(server, "a/b"), client(server, "#")]) {
      await event(attempt, "close");
      assert.equal(attempt.connected, false);
    }
  });

  it("asks every client for the password where one is set", async () => {
    const folder = await fixtures.folder();
    const [right, wrong] = [join(folder, "right"), join(folder, "wrong")];
    await writeFile(right, "correct horse\n");
    await writeFile(wrong, "battery staple\n");
    const server = await fixtures.server({ broker: { password_file: right } });
    const { url } = server;
    const refused = await fixtures.agent({
      url,
      token: server.joinToken(),
      broker: { password_file: wrong },
    });
    await eventually("the refusal", () => server.refused("bad_password") > 0);
    assert.equal(refused.handler.connected, false);
    await fixtures.connected(server, { broker: { password_file: right } });
  });

  it("slows a flooding client down without losing its messages or holding up others", async () => {
    const server = await fixtures.server({ broker: { max_messages_per_second: 100 } });
    const agent = await fixtures.connected(server);
    const mine = randomUUID();
    const flood = client(server, mine);
    await event(flood, "connect");
    for (let count = 0; count < 250; count++) flood.publish(topics.up(mine), `${count}`, { qos: 1 });
    await agent.link.call("node.heartbeat", { status: "ready" });
    const arrived = (): number =>
      server.carrier.up.filter((message) => message.topic === topics.up(mine)).length;
    await eventually("all messages", () => arrived() === 250);
    assert.ok(server.refused("slowed_down") > 0);
  });

  it("takes no more connections than it may", async () => {
    const server = await fixtures.server({ broker: { max_connections: 2 } });
    await Promise.all([event(client(server, "a"), "connect"), event(client(server, "b"), "connect")]);
    await event(client(server, "c"), "close");
    await eventually("the count", () => server.refused("too_many_connections") > 0);
  });

  it("names the address and the key to set when the port is in use", async () => {
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    fixtures.defer(() => void taken.close());
    const { port } = taken.address() as { port: number };
    await assert.rejects(Server.create({ port }), (error: Error) => {
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}: the address is in use`));
      assert.match(error.message, /broker \{ listen = "127\.0\.0\.1:\d+" \}/);
      return true;
    });
  });

  it("lets agents wait until the server is ready to answer", async () => {
    const server = await Server.create();
    fixtures.defer(() => server.close());
    const agent = await fixtures.agent({ url: server.url, token: server.joinToken() });
    await server.gateway.serve(server.handler);
    await eventually("the link", () => agent.handler.connected);
  });
});

describe("the packet guard", () => {
  const connectPacket = Buffer.from("100c00044d5154540402003c0000", "hex");

  it("passes packets however their bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 50 }),
        (bodies, cuts) => {
          const packets = bodies.map((body) => {
            const length =
              body.length < 128 ? [body.length] : [(body.length & 0x7f) | 0x80, body.length >> 7];
            return Buffer.concat([Uint8Array.of(0x30, ...length), body]);
          });
          const bytes = Buffer.concat([connectPacket, ...packets]);
          const guard = new PacketGuard("client", 300);
          for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
            const step = cuts[turn % cuts.length]!;
            assert.equal(guard.push(bytes.subarray(offset, offset + step)), undefined);
            offset += step;
          }
          const limit = new PacketGuard("client", 299);
          const tooLong = bodies.some((body) => body.length > 299);
          assert.equal(limit.push(bytes) !== undefined, tooLong);
        },
      ),
    );
  });

  it("refuses what doesn't begin with the packet that must come first", () => {
    assert.match(new PacketGuard("client", 1_000).push(Buffer.from("GET /"))!, /not MQTT/);
    assert.match(new PacketGuard("broker", 1_000).push(connectPacket)!, /not MQTT/);
    assert.equal(new PacketGuard("broker", 1_000).push(Buffer.from("20020000", "hex")), undefined);
  });
});

describe("a token bucket", () => {
  it("lets a burst pass and spreads the rest over time", () => {
    const bucket = new TokenBucket(10, 5);
    const waits = Array.from({ length: 8 }, () => bucket.take());
    assert.deepEqual(waits.slice(0, 5), [0, 0, 0, 0, 0]);
    assert.ok(waits[5]! > 0 && waits[6]! > waits[5]! && waits[7]! > waits[6]!);
    assert.equal(new TokenBucket(10, 0).tryTake(), false);
  });
});

describe("the embedded broker with TLS", () => {
  it("serves agents that trust its authority, and only those that show a certificate of it", async () => {
    const folder = await fixtures.folder();
    const [cert_file, key_file] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const subject = [
      "-subj",
      "/CN=server.global.drover",
      "-addext",
      "subjectAltName=DNS:server.global.drover",
    ];
    const fresh = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-days",
      "2",
    ];
    await promisify(execFile)("openssl", [...fresh, ...subject, "-keyout", key_file, "-out", cert_file]);
    const tls = { cert_file, key_file, ca_file: cert_file };
    const server = await fixtures.server({ broker: { tls } });
    assert.match(server.url, /^mqtts:/);
    const stranger = await fixtures.agent({
      url: server.url,
      token: server.joinToken(),
      broker: { tls: { ca_file: cert_file, server_name: "server.global.drover" } },
    });
    await eventually("the refusal", () => stranger.log.lines.some((line) => line.level === "warn"));
    await fixtures.connected(server, { broker: { tls: { ...tls, server_name: "server.global.drover" } } });
    assert.equal(stranger.handler.connected, false);
    await assert.rejects(Server.create({ broker: { tls: { cert_file } } }), /needs cert_file and key_file/);
    await assert.rejects(
      Server.create({ broker: { tls: { cert_file: join(folder, "none") } } }),
      /tls\.cert_file.*none/,
    );
  });
});
