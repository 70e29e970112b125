/** What servers refuse, and what they say; each etcd here is the test's own. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { eventually, MemoryNetwork } from "@drover/plugin-sdk/testing";
import { Keys } from "../../../plugins/consensus-etcd/keys.js";
import { encodeBatch, encodePosition } from "../../../plugins/consensus-etcd/records.js";
import { freePorts } from "../../integration/process.js";
import { EtcdCluster } from "./etcd-cluster.js";
import { encode, ListMachine, type Settings, server, TestServers, temporaryFolder } from "./support.js";

const PREFIX = "/refusals";

async function folder(t: TestContext): Promise<string> {
  const path = await temporaryFolder();
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

describe("a server on etcd refuses to start", () => {
  let etcd: EtcdCluster;
  before(async () => {
    etcd = await EtcdCluster.start(1);
  });
  after(() => etcd.destroy());

  /** Starts a server that must fail, and gives what it said. */
  const refusal = async (
    dataDir: string,
    prefix: string,
    settings: Settings = {},
    machine = new ListMachine(),
  ): Promise<string> => {
    const { consensus } = await server(etcd, dataDir, prefix, settings);
    try {
      await consensus.start(machine);
    } catch (error) {
      return (error as Error).message;
    }
    await consensus.stop();
    throw new Error("it started");
  };
  const put = async (key: string, value: string | Buffer): Promise<void> => {
    const client = etcd.client();
    await client.put(key).value(value);
    client.close();
  };

  it("without an etcd, naming where it looked", async (t) => {
    const [port] = await freePorts(1);
    const endpoints = [`http://127.0.0.1:${port}`];
    const text = await refusal(await folder(t), PREFIX, { endpoints, start_timeout: 300 });
    assert.match(text, new RegExp(`etcd at http://127.0.0.1:${port} does not answer .*ECONNREFUSED`));
  });

  it("on the prefix of another cluster", async (t) => {
    const servers = new TestServers(etcd, new MemoryNetwork());
    t.after(() => servers.destroy());
    const one = await servers.start();
    await servers.stop(one);
    const other = new TestServers(etcd, new MemoryNetwork());
    t.after(() => other.destroy());
    await other.start();
    const text = await refusal(one.dataDir, other.prefix);
    assert.match(text, /the cluster below .* in etcd is .*, and this server belongs to .*; set the prefix/);
    // Nothing at all is there: the same server, another prefix.
    assert.match(await refusal(one.dataDir, "/empty"), /has no Drover cluster below \/empty\/global\//);
  });

  it("on a prefix of another region, of a newer format, or with keys of somebody else", async (t) => {
    const id = crypto.randomUUID();
    const key = (prefix: string) => new Keys(prefix, "global").cluster;
    await put(key("/region"), JSON.stringify({ format: 1, id, region: "south" }));
    assert.match(
      await refusal(await folder(t), "/region"),
      /is of region "south", and this server is of "global"/,
    );
    await put(key("/newer"), JSON.stringify({ format: 2, id, region: "global" }));
    assert.match(
      await refusal(await folder(t), "/newer"),
      /has format 2, and this version of Drover knows 1/,
    );
    await put(key("/text"), "hello");
    assert.match(
      await refusal(await folder(t), "/text"),
      /\/text\/global\/cluster in etcd is not what Drover writes/,
    );
    await put("/taken/global/registry/pods", "x");
    assert.match(
      await refusal(await folder(t), "/taken"),
      /keys below \/taken\/global\/ that are not of a Drover cluster/,
    );
  });

  it("with the state of another log, or a damaged mark", async (t) => {
    const machine = new ListMachine();
    machine.apply([{ index: 1, term: 1, data: encode("a") }]);
    assert.match(await refusal(await folder(t), "/other-log", {}, machine), /applied entry 1 of another log/);
    const servers = new TestServers(etcd, new MemoryNetwork());
    t.after(() => servers.destroy());
    const one = await servers.start();
    await servers.stop(one);
    const file = join(one.dataDir, "server", "etcd", "cluster");
    await writeFile(file, "1234 {}");
    assert.match(await refusal(one.dataDir, servers.prefix), /cluster can't be read .*checksum/);
  });

  it("when the log is damaged or cut, naming the key", async (t) => {
    const servers = new TestServers(etcd, new MemoryNetwork());
    t.after(() => servers.destroy());
    const one = await servers.start();
    await eventually("it leads", () => one.consensus.isLeader());
    await one.consensus.propose(encode("a"));
    await servers.stop(one);
    const keys = new Keys(servers.prefix, "global");
    const client = etcd.client();
    const last = one.machine.lastApplied();
    const good = await client.get(keys.batch(last)).buffer();
    await put(keys.batch(last), "garbage");
    assert.match(
      await refusal(one.dataDir, servers.prefix),
      new RegExp(`the log record ${keys.batch(last)} in etcd can't be read`),
    );
    await put(keys.batch(last), Buffer.from(good!).fill(0, 3, 4));
    assert.match(await refusal(one.dataDir, servers.prefix), /the log record/);
    await client.delete().key(keys.batch(last));
    assert.match(await refusal(one.dataDir, servers.prefix), new RegExp(`should end at ${last}`));
    await put(
      keys.batch(last),
      encodeBatch({ type: "entries", term: 1, first: last, last, entries: [encode("a")] }),
    );
    await put(keys.tail, "nonsense");
    assert.match(await refusal(one.dataDir, servers.prefix), /tail in etcd is not "INDEX TERM"/);
    // The end of the log is before what this server has applied.
    await put(keys.tail, encodePosition({ index: last - 1, term: 1 }));
    assert.match(
      await refusal(one.dataDir, servers.prefix, {}, one.machine),
      /has applied entry \d+, and the log in etcd .* ends at/,
    );
    client.close();
  });
});

it("a server goes down, and says why, when its etcd is wiped under it", async (t) => {
  const etcd = await EtcdCluster.start(1);
  t.after(() => etcd.destroy());
  const servers = new TestServers(etcd, new MemoryNetwork());
  t.after(() => servers.destroy());
  const one = await servers.start();
  await eventually("it leads", () => one.consensus.isLeader());
  for (let number = 0; number < 20; number++) await one.consensus.propose(encode(`c${number}`));
  await etcd.wipe();
  const [failure] = await eventually("it fails", () => one.failures.length > 0 && one.failures);
  assert.match(failure!.message, /wiped/);
  assert.equal(one.consensus.isLeader(), false);
  await assert.rejects(one.consensus.propose(encode("no")), /wiped/);
  await servers.stop(one);
  const { consensus } = await server(etcd, one.dataDir, servers.prefix);
  await assert.rejects(consensus.start(one.machine), /no Drover cluster below .*wiped/);
  assert.equal(one.machine.commands.length, 20, "its state is as it was");
});

it("proposals get ERR_DISK_FULL while etcd's quota is used up, lose nothing, and work again afterwards", async (t) => {
  const etcd = await EtcdCluster.start(1, [`--quota-backend-bytes=${8 * 1024 * 1024}`]);
  t.after(() => etcd.destroy());
  const servers = new TestServers(etcd, new MemoryNetwork());
  t.after(() => servers.destroy());
  const one = await servers.start();
  await eventually("it leads", () => one.consensus.isLeader());
  const acknowledged: string[] = [];
  const propose = async (number: number): Promise<void> => {
    const command = `${number}:`.padEnd(400_000, "x");
    await one.consensus.propose(encode(command));
    acknowledged.push(command);
  };
  await assert.rejects(
    async () => {
      for (let number = 0; number < 100; number++) await propose(number);
    },
    { code: "ERR_DISK_FULL", message: /quota.*etcdctl alarm disarm/ },
  );
  assert.ok(acknowledged.length > 0);
  assert.equal(one.consensus.isLeader(), true);
  assert.equal(await one.consensus.barrier(), one.machine.lastApplied(), "reads go on");
  await assert.rejects(one.consensus.propose(encode("small")), { code: "ERR_DISK_FULL" });
  // What an operator does: make room, then disarm the alarm.
  const client = etcd.client();
  const { start, end } = new Keys(servers.prefix, "global").logUpTo(one.machine.lastApplied() - 1);
  const { header } = await client.kv.deleteRange({ key: Buffer.from(start), range_end: Buffer.from(end) });
  await client.kv.compact({ revision: Number(header.revision), physical: true });
  await client.maintenance.defragment();
  await client.maintenance.alarm({ action: "Deactivate", memberID: header.member_id, alarm: "Nospace" });
  client.close();
  await eventually("proposals work again", async () => {
    await propose(1000);
    return true;
  });
  assert.deepEqual(one.machine.commands, acknowledged, "what was refused was not written");
  assert.deepEqual(one.failures, []);
});
