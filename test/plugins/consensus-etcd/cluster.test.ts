/** Several servers on one etcd, in this process; etcd itself is real and loses members. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { NotLeaderError } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork } from "@drover/plugin-sdk/testing";
import { Keys } from "../../../plugins/consensus-etcd/keys.js";
import { EtcdCluster } from "./etcd-cluster.js";
import { encode, ListMachine, server, type TestServer, TestServers, temporaryFolder } from "./support.js";

describe("servers on etcd", () => {
  let etcd: EtcdCluster;
  let network: MemoryNetwork;
  let servers: TestServers;

  before(async () => {
    etcd = await EtcdCluster.start();
  });
  after(() => etcd.destroy());
  beforeEach(() => {
    network = new MemoryNetwork();
    servers = new TestServers(etcd, network);
  });
  afterEach(() => servers.destroy());

  const write = async (one: TestServer, ...commands: string[]) => {
    await Promise.all(commands.map((command) => one.consensus.propose(encode(command))));
  };
  const same = (all: readonly TestServer[]) =>
    eventually("the same state everywhere", () => {
      const [first, ...others] = all.map(({ machine }) => JSON.stringify(machine.commands));
      return others.every((other) => other === first);
    });

  it("have one leader, know each other, and apply the same log", async () => {
    const all = [await servers.start(), await servers.start(), await servers.start()];
    const leader = await servers.leader();
    await write(leader, "a", "b", "c");
    await same(all);
    assert.deepEqual(leader.machine.commands, ["a", "b", "c"]);
    for (const { consensus } of all) {
      await eventually("the list of servers", () => consensus.peers().length === 3);
      assert.equal(consensus.leader()?.id, leader.consensus.id);
      assert.equal(consensus.leader()?.address, leader.address);
      assert.equal(consensus.term(), leader.consensus.term());
      assert.deepEqual(
        consensus.peers().map(({ id, voter }) => [id, voter]),
        all.map((one) => [one.consensus.id, true]).sort(),
      );
    }
    const follower = all.find((one) => one !== leader)!;
    await assert.rejects(follower.consensus.propose(encode("no")), (error: unknown) => {
      assert.ok(error instanceof NotLeaderError);
      assert.equal(error.leader?.id, leader.consensus.id);
      return true;
    });
    assert.deepEqual(follower.consensus.progress(), []);
    await eventually("progress of the followers", () => {
      const progress = leader.consensus.progress();
      return (
        progress.length === 3 && progress.every(({ lastIndex }) => lastIndex === leader.machine.lastApplied())
      );
    });
    for (const { lastContact, lastTerm } of leader.consensus.progress()) {
      assert.equal(lastContact, 0);
      assert.equal(lastTerm, leader.consensus.term());
    }
  });

  it("let a follower's barrier pass only once it has what was committed", async () => {
    await servers.start();
    await servers.start();
    const leader = await servers.leader();
    const follower = await servers.start();
    for (let round = 0; round < 20; round++) {
      const { index } = await leader.consensus.propose(encode(`c${round}`));
      assert.ok((await follower.consensus.barrier()) >= index);
      assert.ok(follower.machine.lastApplied() >= index);
    }
  });

  it("go on in a later term when the leader stops, with everything that was acknowledged", async () => {
    const all = [await servers.start(), await servers.start()];
    const first = await servers.leader();
    await write(first, "a", "b");
    const term = first.consensus.term();
    await servers.stop(first);
    const second = await servers.leader();
    assert.notEqual(second, first);
    assert.ok(second.consensus.term() > term);
    await write(second, "c");
    assert.deepEqual(second.machine.commands, ["a", "b", "c"]);
    assert.ok(all.includes(second));
  });

  it("hand leadership over to the one that is named, and keep it where that one does not answer", async () => {
    const all = [await servers.start(), await servers.start(), await servers.start()];
    const leader = await servers.leader();
    const target = all.find((one) => one !== leader)!;
    await leader.consensus.transferLeadership(target.consensus.id);
    await eventually("the named one leads", () => target.consensus.isLeader());
    assert.equal(leader.consensus.isLeader(), false);
    await write(target, "after");
    await assert.rejects(target.consensus.transferLeadership("nobody"), /there is no server nobody/);
    await assert.rejects(target.consensus.transferLeadership(target.consensus.id), /leads already/);
    // Known by etcd until its lease ends, and deaf.
    const client = etcd.client();
    const lease = client.lease(30);
    const key = new Keys(servers.prefix, "global").server("deaf");
    const record = {
      id: "deaf",
      address: "10.9.9.9:1",
      instance: crypto.randomUUID(),
      index: 0,
      term: 0,
      snapshot: 0,
    };
    await lease.put(key).value(JSON.stringify(record));
    await eventually("the deaf one is listed", () =>
      target.consensus.peers().some(({ id }) => id === "deaf"),
    );
    await assert.rejects(
      target.consensus.transferLeadership("deaf"),
      /did not take leadership over.*still leads/,
    );
    await lease.revoke();
    client.close();
    await write(target, "still");
  });

  it("refuse to lead alone", async () => {
    const only = await servers.start();
    await servers.leader();
    await assert.rejects(only.consensus.transferLeadership(), /no other server to hand leadership to/);
  });

  it("keep the order of proposals, and lose none, while etcd's members are killed", {
    timeout: 100_000,
  }, async () => {
    const all = [await servers.start(), await servers.start()];
    await servers.leader();
    const acknowledged: string[] = [];
    let done = false;
    let next = 0;
    const writer = async (name: string): Promise<void> => {
      while (!done) {
        const command = `${name}-${next++}`;
        try {
          const leader = await servers.leader();
          await leader.consensus.propose(encode(command));
          acknowledged.push(command);
        } catch (error) {
          const { code } = error as { code?: string };
          assert.ok(error instanceof NotLeaderError || code === "ERR_OUTCOME_UNKNOWN", String(error));
        }
      }
    };
    const writers = ["a", "b", "c", "d"].map(writer);
    for (let kill = 0; kill < 3; kill++) {
      const at = acknowledged.length + 20;
      await eventually("writes are acknowledged", () => acknowledged.length >= at);
      const victim = kill === 2 ? ((await etcd.leader()) + 1) % 3 : await etcd.leader();
      await etcd.kill(victim);
      const later = acknowledged.length + 20;
      await eventually("writes go on with two members", () => acknowledged.length >= later);
      etcd.restart(victim);
      await etcd.answers();
    }
    done = true;
    await Promise.all(writers);
    const leader = await servers.leader();
    await leader.consensus.barrier();
    await same(all);
    const applied = leader.machine.commands;
    assert.equal(new Set(applied).size, applied.length, "no command is applied twice");
    const places = new Map(applied.map((command, place) => [command, place]));
    for (const command of acknowledged)
      assert.ok(places.has(command), `${command} was acknowledged and is gone`);
    for (const name of ["a", "b", "c", "d"]) {
      const own = acknowledged
        .filter((command) => command.startsWith(name))
        .map((command) => places.get(command)!);
      assert.deepEqual(
        own,
        [...own].sort((a, b) => a - b),
        "a writer's commands are in the order it proposed them",
      );
    }
    for (const { failures } of all) assert.deepEqual(failures, []);
  });

  it("answer nothing without etcd's quorum, lead by nobody, and go on by themselves when it is back", {
    timeout: 60_000,
  }, async () => {
    const all = [await servers.start(), await servers.start()];
    const leader = await servers.leader();
    await write(leader, "before");
    await Promise.all([etcd.kill(0), etcd.kill(1)]);
    let isCertain = false;
    try {
      await assert.rejects(leader.consensus.propose(encode("lost")), (error: Error & { code?: string }) => {
        // Certain where it still waited behind a transaction whose answer was lost.
        isCertain = error instanceof NotLeaderError;
        return isCertain || error.code === "ERR_OUTCOME_UNKNOWN";
      });
      assert.equal(leader.consensus.isLeader(), false);
      assert.equal(leader.consensus.leader(), undefined);
      await assert.rejects(leader.consensus.propose(encode("no")), NotLeaderError);
      await assert.rejects(leader.consensus.barrier(), NotLeaderError);
    } finally {
      etcd.restart(0);
      etcd.restart(1);
    }
    await etcd.answers();
    const next = await servers.leader();
    await write(next, "after");
    await same(all);
    assert.deepEqual(
      next.machine.commands.filter((command) => isCertain || command !== "lost"),
      ["before", "after"],
    );
  });

  it("take large commands in pieces, and commands of all sizes in order", async () => {
    // Fifty pieces, one after the other, on a machine that has other things to do.
    const LARGE = { max_batch_bytes: 64 * 1024, lease_ttl: 10_000 };
    const all = [await servers.start(undefined, undefined, LARGE)];
    all.push(await servers.start(undefined, undefined, LARGE));
    const leader = await servers.leader();
    const sizes = [1, 70_000, 10, 3 * 1024 * 1024, 64 * 1024, 65_537, 2];
    const commands = sizes.map((size, number) => `${number}:`.padEnd(size, "x"));
    await write(leader, ...commands);
    await same(all);
    assert.deepEqual(leader.machine.commands, commands);
    // A server that reads it later gets it from the pieces, too.
    const late = await servers.start();
    assert.deepEqual(late.machine.commands, commands);
    await assert.rejects(leader.consensus.propose(new Uint8Array(9 * 1024 * 1024)), {
      code: "ERR_COMMAND_TOO_LARGE",
    });
    await write(leader, "small");
  });

  it("remove what an unfinished large command left, when another one leads", async () => {
    const first = await servers.start();
    await servers.leader();
    await write(first, "a");
    const keys = new Keys(servers.prefix, "global");
    const client = etcd.client();
    const left = keys.part(first.machine.lastApplied() + 1, 0);
    await client.put(left).value("piece");
    await servers.stop(first);
    const second = await servers.start();
    await eventually("it leads", () => second.consensus.isLeader());
    assert.equal(await client.get(left).string(), null);
    client.close();
    await write(second, "b");
    assert.deepEqual(second.machine.commands, ["a", "b"]);
  });

  it("compact the log after snapshots, and bring back a server that was away too long", async () => {
    servers = new TestServers(etcd, network, {
      snapshot_threshold: 100,
      snapshot_interval: 0,
      trailing_logs: 10,
    });
    const all = [await servers.start(), await servers.start()];
    const away = await servers.start();
    const leader = await eventually("a leader that stays", () =>
      all.find(({ consensus }) => consensus.isLeader()),
    );
    await write(leader, "first");
    await same([...all, away]);
    await servers.stop(away);
    for (let round = 0; round < 30; round++) {
      await write(leader, ...Array.from({ length: 20 }, (_, number) => `c${round}-${number}`));
    }
    const client = etcd.client();
    const keys = new Keys(servers.prefix, "global");
    const base = await eventually("the log begins later", async () => {
      const found = Number.parseInt((await client.get(keys.base).string()) ?? "0", 10);
      return found > away.machine.lastApplied() ? found : undefined;
    });
    const kept = await client.getAll().prefix(keys.logFrom(0).start.slice(0, -14)).keys();
    assert.ok(kept.length > 0);
    assert.ok(
      kept.every((key) => keys.lastOf(key) > base),
      "no batch before the base is kept",
    );
    client.close();

    const back = await servers.start(away.dataDir, away.machine);
    await back.consensus.barrier();
    assert.ok(back.machine.restores >= 1, "a snapshot was restored");
    assert.deepEqual(back.machine.commands, leader.machine.commands);
    // A server that has nothing at all, too; and both go on.
    const fresh = await servers.start();
    await fresh.consensus.barrier();
    assert.ok(fresh.machine.restores >= 1);
    await write(await servers.leader(), "last");
    await same([...all, back, fresh]);
    for (const one of [...all, fresh]) {
      await eventually("two snapshots are kept", async () => {
        return (await readdir(join(one.dataDir, "server", "etcd", "snapshots"))).length <= 2;
      });
    }
  });

  it("start from their own snapshot when their state is lost", async () => {
    servers = new TestServers(etcd, network, {
      snapshot_threshold: 50,
      snapshot_interval: 0,
      trailing_logs: 0,
    });
    const one = await servers.start();
    await servers.leader();
    for (let number = 0; number < 120; number++) await write(one, `c${number}`);
    const client = etcd.client();
    const keys = new Keys(servers.prefix, "global");
    await eventually("the log begins later", async () => (await client.get(keys.base).string()) !== null);
    client.close();
    await servers.stop(one);
    const again = await servers.start(one.dataDir, new ListMachine());
    await again.consensus.barrier();
    assert.equal(again.machine.restores, 1);
    assert.deepEqual(again.machine.commands, one.machine.commands);
  });

  it("put an operator's snapshot in force on every server at one place of the log", async () => {
    const all = [await servers.start(), await servers.start(), await servers.start()];
    const leader = await servers.leader();
    await write(leader, "old");
    const folder = await mkdtemp(join(tmpdir(), "drover-saved-"));
    const info = await leader.consensus.saveSnapshot(folder);
    assert.equal(info.index, leader.machine.lastApplied());
    assert.equal(info.term, leader.consensus.term());
    assert.equal(info.peers.length, 3);
    await write(leader, "newer");
    const follower = all.find((one) => one !== leader)!;
    await assert.rejects(follower.consensus.restoreSnapshot(folder), NotLeaderError);
    const index = await leader.consensus.restoreSnapshot(folder);
    assert.ok(index > info.index + 1);
    assert.deepEqual(leader.machine.commands, ["old"]);
    assert.ok(leader.machine.lastApplied() >= index);
    await write(leader, "after");
    await same(all);
    assert.deepEqual(follower.machine.commands, ["old", "after"]);
    // One that comes later finds it in the log, and gets the copy from another.
    const late = await servers.start();
    await late.consensus.barrier();
    assert.deepEqual(late.machine.commands, ["old", "after"]);
    await rm(folder, { recursive: true, force: true });
  });

  it("restore no snapshot that too few servers can take", async () => {
    const all = [await servers.start(), await servers.start(), await servers.start()];
    const leader = await servers.leader();
    await eventually("the list of servers", () => leader.consensus.peers().length === 3);
    await write(leader, "kept");
    const folder = await mkdtemp(join(tmpdir(), "drover-saved-"));
    await leader.consensus.saveSnapshot(folder);
    await write(leader, "too");
    network.isolate(leader.address);
    await assert.rejects(leader.consensus.restoreSnapshot(folder), /1 other servers must have it first/);
    network.mend();
    await same(all);
    assert.deepEqual(leader.machine.commands, ["kept", "too"]);
    await rm(folder, { recursive: true, force: true });
  });

  it("refuse a second server with the same id, also one with a copied data folder", async () => {
    const one = await servers.start();
    const copy = await temporaryFolder();
    await cp(one.dataDir, copy, { recursive: true });
    const { consensus } = await server(etcd, copy, servers.prefix);
    await assert.rejects(
      consensus.start(new ListMachine()),
      /a server with the id .* runs already and is reached at 10\.0\.0\.1:4647/,
    );
    await rm(copy, { recursive: true, force: true });
    await eventually("the first goes on", () => one.consensus.isLeader());
  });
});
