import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { RpcCaller, RpcHandler, ServerNetwork } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork, quietLogger } from "@drover/plugin-sdk/testing";
import { encodeBody } from "../../../../core/server/members/member-record.js";
import { Members, type SelfRecord } from "../../../../core/server/members/members.js";

const TIMES = {
  probeInterval: 10,
  probeDeadline: 100,
  missesToFail: 3,
  failedEvery: 1,
  exchangeDeadline: 500,
};

const address = (number: number): string => `10.0.0.${number}:4647`;

interface Options {
  readonly region?: string;
  readonly id?: string;
  readonly name?: string;
}

function self(number: number, { region = "global", id = `id-${number}`, name }: Options = {}): SelfRecord {
  return {
    name: `${name ?? `server-${number}`}.${region}`,
    addr: `10.0.0.${number}`,
    port: 4648,
    tags: { id, region, role: "nomad", port: "4647", rpc_addr: `10.0.0.${number}`, expect: "3" },
  };
}

class Servers {
  readonly network = new MemoryNetwork();
  constructor(private readonly t: TestContext) {}

  start(number: number, options?: Options): Members {
    const members = new Members(
      this.network.join(address(number), options?.region),
      self(number, options),
      quietLogger,
      TIMES,
    );
    members.start();
    this.t.after(() => members.stop());
    return members;
  }

  /** The process is gone. */
  kill(number: number, members: Members): void {
    members.stop();
    this.network.leave(address(number));
  }
}

const seen = (members: Members): string[] =>
  members
    .members()
    .map(({ Name, Status }) => `${Name} ${Status}`)
    .sort();

const sees = (members: Members, ...expected: string[]) =>
  eventually(
    `${expected.join()}, got ${seen(members).join()}`,
    () => seen(members).join() === expected.join(),
  );

test("who joins one server is known to all, in every region", async (t) => {
  const servers = new Servers(t);
  const [a, b, c] = [servers.start(1), servers.start(2), servers.start(3, { region: "eu" })];
  assert.equal(await b.join(["10.0.0.1"]), 1);
  assert.equal(await c.join(["10.0.0.2:4647"]), 1);
  for (const each of [a, b, c])
    await sees(each, "server-1.global alive", "server-2.global alive", "server-3.eu alive");
  const shown = a.members().find(({ Name }) => Name === "server-2.global")!;
  assert.deepEqual(
    [shown.Addr, shown.Port, shown.ProtocolCur, shown.Tags.id, shown.Tags.region],
    ["10.0.0.2", 4648, 2, "id-2", "global"],
  );
});

test("a server that does not answer fails, and is alive again when it does", async (t) => {
  const servers = new Servers(t);
  const [a, b] = [servers.start(1), servers.start(2)];
  const events: string[] = [];
  a.subscribe((event) => event.type !== "user" && events.push(event.type));
  await b.join(["10.0.0.1"]);
  servers.network.isolate(address(2));
  await sees(a, "server-1.global alive", "server-2.global failed");
  await sees(b, "server-1.global failed", "server-2.global alive");
  servers.network.mend();
  await sees(a, "server-1.global alive", "server-2.global alive");
  await sees(b, "server-1.global alive", "server-2.global alive");
  assert.deepEqual(events, ["join", "failed", "join"]);
});

test("a server that leaves did not fail, and can come back with an earlier word than its last", async (t) => {
  const servers = new Servers(t);
  const [a, b, c] = [servers.start(1), servers.start(2), servers.start(3)];
  await b.join(["10.0.0.1"]);
  await c.join(["10.0.0.1"]);
  await sees(b, "server-1.global alive", "server-2.global alive", "server-3.global alive");
  await c.leave();
  assert.ok(seen(a).includes("server-3.global left"), "it is told, not found out");
  servers.kill(3, c);
  await sees(b, "server-1.global alive", "server-2.global alive", "server-3.global left");
  const back = servers.start(3);
  await back.join(["10.0.0.1"]);
  for (const each of [a, b, back])
    await sees(each, "server-1.global alive", "server-2.global alive", "server-3.global alive");
});

test("changed tags reach everybody", async (t) => {
  const servers = new Servers(t);
  const [a, b] = [servers.start(1), servers.start(2)];
  await b.join(["10.0.0.1"]);
  await b.setTags({ ...self(2).tags, build: "9.9.9" });
  await eventually("the new tag", () => a.members()[1]?.Tags.build === "9.9.9");
});

test("a failed server is declared left, one that is alive or unknown is not", async (t) => {
  const servers = new Servers(t);
  const [a, b, c] = [servers.start(1), servers.start(2), servers.start(3)];
  await b.join(["10.0.0.1"]);
  await c.join(["10.0.0.1"]);
  await sees(a, "server-1.global alive", "server-2.global alive", "server-3.global alive");
  await assert.rejects(
    a.forceLeave("server-3.global"),
    /server-3.global is alive: only a server that failed/,
  );
  await assert.rejects(a.forceLeave("nobody.global"), /no server is known by the name nobody.global/);
  await assert.rejects(a.forceLeave("server-1.global"), /is this server itself/);
  servers.kill(3, c);
  await sees(a, "server-1.global alive", "server-2.global alive", "server-3.global failed");
  await a.forceLeave("server-3.global");
  await sees(b, "server-1.global alive", "server-2.global alive", "server-3.global left");
});

test("a server that was declared left while it could not be reached says that it is alive", async (t) => {
  const servers = new Servers(t);
  const [a, b] = [servers.start(1), servers.start(2)];
  await b.join(["10.0.0.1"]);
  servers.network.isolate(address(2));
  await sees(a, "server-1.global alive", "server-2.global failed");
  await a.forceLeave("server-2.global");
  servers.network.mend();
  await sees(a, "server-1.global alive", "server-2.global alive");
});

test("a second server with an id in use is refused while the first is alive, and told why", async (t) => {
  const servers = new Servers(t);
  const [a, b] = [servers.start(1), servers.start(2)];
  await b.join(["10.0.0.1"]);
  await sees(a, "server-1.global alive", "server-2.global alive");
  const copy = servers.start(3, { id: "id-2", name: "copy" });
  await assert.rejects(
    copy.join(["10.0.0.1"]),
    /10.0.0.1:4647: server id id-2 is in use by server-2.global at 10.0.0.2:4647: copy.global at 10.0.0.3:4647 must not have a copy/,
  );
  await assert.rejects(copy.join(["10.0.0.2"]), /server id id-2 is in use/);
  await sees(a, "server-1.global alive", "server-2.global alive");
  // The one that had it is gone, and has not been missed yet: it moved.
  servers.kill(2, b);
  assert.equal(await copy.join(["10.0.0.1"]), 1);
});

test("a second server with a name in use is refused while the first is alive, and takes its place afterwards", async (t) => {
  const servers = new Servers(t);
  const [a, b] = [servers.start(1), servers.start(2)];
  await b.join(["10.0.0.1"]);
  const other = servers.start(3, { name: "server-2" });
  await assert.rejects(
    other.join(["10.0.0.1"]),
    /the name server-2.global is in use by the server id-2 at 10.0.0.2:4647: give the server at 10.0.0.3:4647 another name/,
  );
  servers.kill(2, b);
  assert.equal(await other.join(["10.0.0.1"]), 1);
  await eventually(
    "the new address",
    () => a.members().find(({ Name }) => Name === "server-2.global")?.Tags.id === "id-3",
  );
});

test("a join tells of every address why it failed, and counts those that answered", async (t) => {
  const servers = new Servers(t);
  const [a] = [servers.start(1), servers.start(2)];
  assert.equal(await a!.join(["10.0.0.2", "10.0.0.9"]), 1);
  await assert.rejects(a!.join(["10.0.0.8", "10.0.0.9:1"]), (error: Error) => {
    assert.match(error.message, /10.0.0.8 could not be joined: 10.0.0.8:4647: no connection/);
    assert.match(error.message, /10.0.0.9:1 could not be joined/);
    return true;
  });
  await assert.rejects(
    a!.join(["no name:at all"]),
    /"no name:at all" is no address: write host or host:port/,
  );
  await assert.rejects(a!.join(["x.invalid"]), /the name x.invalid could not be resolved/);
  await assert.rejects(a!.join(Array.from({ length: 257 }, () => "10.0.0.2")), /257 addresses are too many/);
});

test("what is no list of members, of another version, or from who must not speak is refused and changes nothing", async (t) => {
  const handlers = new Map<string, RpcHandler>();
  const network = {
    handle: (name: string, handler: RpcHandler) => {
      handlers.set(name, handler);
      return () => handlers.delete(name);
    },
  } as unknown as ServerNetwork;
  const members = new Members(network, self(1), quietLogger, TIMES);
  members.start();
  t.after(() => members.stop());
  const exchange = (body: Uint8Array | object, identity?: RpcCaller["identity"]) =>
    handlers.get("Members.Exchange")!(
      body instanceof Uint8Array ? body : encodeBody(body),
      { address: "10.0.0.2:4647", ...(identity === undefined ? {} : { identity }) },
      new AbortController().signal,
    );
  const from = { ...self(2), incarnation: 1, status: "alive", age: 0 };
  const good = { version: 1, from, others: [] };
  await assert.rejects(
    exchange(new Uint8Array([0x92, 1])),
    /Members.Exchange: the body is not readable as MessagePack/,
  );
  await assert.rejects(
    exchange({ ...good, version: 7 }),
    /speaks version 7 of the members' protocol, this one version 1/,
  );
  await assert.rejects(
    exchange({ ...good, from: { ...from, incarnation: -1 } }),
    /Members.Exchange: from.incarnation:/,
  );
  await assert.rejects(
    exchange({ ...good, from: { ...from, tags: {} } }),
    /the tags id and region must be there/,
  );
  const crowd = Array.from({ length: 2_001 }, () => from);
  await assert.rejects(exchange({ ...good, others: crowd }), /Members.Exchange: others:/);
  await assert.rejects(exchange(good, { role: "client", region: "global" }), /is for servers/);
  await assert.rejects(
    exchange(good, { role: "server", region: "eu" }),
    /the certificate of 10.0.0.2:4647 is of region eu, and the server calls itself server-2.global of region global/,
  );
  assert.deepEqual(seen(members), ["server-1.global alive"]);
  await exchange(good, { role: "server", region: "global" });
  assert.equal(members.members().length, 2);
});
