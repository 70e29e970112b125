import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { NotLeaderError } from "@drover/plugin-sdk";
import { SnapshotStore } from "@drover/plugin-sdk/consensus";
import { eventually } from "@drover/plugin-sdk/testing";
import { LmdbLogStore } from "../../../plugins/consensus-raft/lmdb-log-store.js";
import { snapshotMeta } from "../../../plugins/consensus-raft/snapshot-meta.js";
import { encode, ListLogger, type ListMachine, type Member, proposeMany, TestCluster } from "./support.js";

describe("RaftConsensus with other servers", () => {
  let cluster: TestCluster;
  beforeEach(() => {
    cluster = new TestCluster();
  });
  afterEach(() => cluster.close());

  const serverFolder = async (number: number, ...path: string[]) =>
    join(await cluster.folder(number), "server", ...path);
  const numberOf = (members: readonly Member[], member: Member) => members.indexOf(member) + 1;

  /** A log whose disk is full while `free` says so. */
  const store = async (number: number, free: () => number) =>
    new LmdbLogStore({ folder: await serverFolder(number, "raft"), minFreeBytes: 1024, freeBytes: free });

  it("starts without a cluster, and waits for one", async () => {
    const lonely = await cluster.start(1);
    assert.equal(lonely.consensus.membership.bootstrapped(), false);
    assert.deepEqual(lonely.consensus.peers(), []);
    await assert.rejects(lonely.consensus.propose(encode("a")), NotLeaderError);
    await assert.rejects(lonely.consensus.barrier(), NotLeaderError);
    assert.equal(lonely.consensus.stats().state, "Follower");
    await assert.rejects(
      lonely.consensus.membership.bootstrap([{ id: "other", address: "10.0.0.9:4647" }]),
      /is not among the servers/,
    );
    await assert.rejects(
      lonely.consensus.membership.bootstrap([{ id: lonely.consensus.id, address: "nowhere" }]),
      /must be host:port/,
    );
    await lonely.consensus.membership.bootstrap([{ id: lonely.consensus.id, address: lonely.address }]);
    await cluster.leader();
  });

  it("refuses an address that another server has, and changes nothing where nothing is to change", async () => {
    const [first] = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const { membership } = leader.consensus;
    await assert.rejects(membership.addNonvoter("new", first!.address), /is the address of server/);
    const follower = cluster.followers(leader)[0]!;
    const before = leader.consensus.stats().last_log_index;
    await membership.promote(follower.consensus.id);
    await membership.addNonvoter(follower.consensus.id, follower.address);
    assert.equal(leader.consensus.stats().last_log_index, before);
    assert.equal(leader.consensus.peers().filter(({ voter }) => voter).length, 3);
  });

  it("makes changes that are asked for together one after another", async () => {
    const [leader] = await cluster.begin(1);
    const others = [await cluster.start(2), await cluster.start(3)];
    const { membership } = leader!.consensus;
    await Promise.all(others.map(({ consensus, address }) => membership.addNonvoter(consensus.id, address)));
    await Promise.all(others.map(({ consensus }) => membership.promote(consensus.id)));
    assert.equal(leader!.consensus.peers().filter(({ voter }) => voter).length, 3);
    const commands = await proposeMany(leader!, "c", 20);
    for (const member of others) await cluster.applied(member, commands);
  });

  it("lets a follower whose disk is full stop acknowledging, run on, and catch up when there is space", async () => {
    let free = Number.POSITIVE_INFINITY;
    const members = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const follower = cluster.followers(leader)[0]!;
    const number = numberOf(members, follower);
    await cluster.stop(follower);
    const logStore = await store(number, () => free);
    const full = await cluster.start(number, { machine: follower.machine, more: { logStore } });
    await cluster.applied(full, await proposeMany(leader, "before", 20));
    free = 0;
    const commands = await proposeMany(leader, "during", 30);
    await eventually("the complaint", () => full.log.has(/no space for the raft log/));
    const progress = () => leader.consensus.progress().find(({ id }) => id === full.consensus.id)!.lastIndex;
    assert.ok(progress() < Number(leader.consensus.stats().last_log_index));
    assert.equal(full.machine.commands.includes("during29"), false);
    free = Number.POSITIVE_INFINITY;
    await cluster.applied(full, commands);
    assert.deepEqual(full.failures, []);
    assert.ok(full.log.has(/raft log is written again/));
    assert.equal(full.log.full.filter((line) => /no space for the raft log/.test(line)).length, 1);
  });

  it("lets a leader whose disk is full step down; another leads, and nothing acknowledged is lost", async () => {
    const free = new Map<number, number>();
    const members: Member[] = [];
    for (const number of [1, 2, 3]) {
      const logStore = await store(number, () => free.get(number) ?? Number.POSITIVE_INFINITY);
      members.push(await cluster.start(number, { more: { logStore } }));
    }
    await members[0]!.consensus.membership.bootstrap(
      members.map(({ consensus, address }) => ({ id: consensus.id, address })),
    );
    const leader = await cluster.leader();
    const number = numberOf(members, leader);
    const commands = await proposeMany(leader, "before", 20);
    free.set(number, 0);
    await assert.rejects(leader.consensus.propose(encode("refused")), (error: Error & { code: string }) => {
      assert.ok(["ERR_DISK_FULL", "ERR_OUTCOME_UNKNOWN"].includes(error.code), error.code);
      return true;
    });
    const second = await eventually("another leader", () =>
      members.find((member) => member !== leader && member.consensus.isLeader()),
    );
    await eventually("the first one follows", () => !leader.consensus.isLeader());
    commands.push(...(await proposeMany(second, "after", 20)));
    free.delete(number);
    for (const member of members) await cluster.applied(member, commands);
    for (const { failures } of members) assert.deepEqual(failures, []);
  });

  it("answers a barrier of a server that is cut off with an error, and never with an old state", async () => {
    const members = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    cluster.network.isolate(leader.address);
    const refused = leader.consensus.barrier();
    await assert.rejects(refused, NotLeaderError);
    const second = await eventually("another leader", () =>
      members.find((member) => member !== leader && member.consensus.isLeader()),
    );
    await second.consensus.propose(encode("new"));
    await assert.rejects(leader.consensus.barrier(), NotLeaderError);
    cluster.network.mend();
    await cluster.leader();
    await leader.consensus.barrier();
    assert.ok(leader.machine.commands.includes("new"));
  });

  it("rejects a handover to a server that can't be reached, and leads on", async () => {
    await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const follower = cluster.followers(leader)[0]!;
    cluster.network.isolate(follower.address);
    const handover = leader.consensus.transferLeadership(follower.consensus.id);
    await assert.rejects(leader.consensus.propose(encode("busy")), { code: "ERR_CONSENSUS_BUSY" });
    await assert.rejects(
      handover,
      /did not take over leadership within an election timeout; this server still leads/,
    );
    assert.equal(leader.consensus.isLeader(), true);
    await leader.consensus.propose(encode("after"));
  });

  it("gives Nomad's stats on leader and followers", async () => {
    await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const stats = leader.consensus.stats();
    assert.equal(stats.num_peers, 2);
    assert.equal(stats.state, "Leader");
    assert.equal(stats.last_contact, 0);
    assert.match(
      String(stats.latest_configuration),
      /^\[\{Suffrage:Voter ID:[0-9a-f-]{36} Address:10\.0\.0\.1:4647\} /,
    );
    assert.equal(stats.protocol_version, 3);
    for (const { consensus } of cluster.followers(leader)) {
      await eventually("the leader was heard", () =>
        /^\d+(\.\d+)?ms$/.test(String(consensus.stats().last_contact)),
      );
      assert.equal(consensus.stats().state, "Follower");
    }
  });

  describe("that fell behind", () => {
    /** A stopped follower, the leader that has dropped what it lacks, and that leader's newest snapshot. */
    const behind = async () => {
      const members = await cluster.begin(1, 2, 3);
      const leader = await cluster.leader();
      const follower = cluster.followers(leader)[0]!;
      await cluster.applied(follower, await proposeMany(leader, "early", 5));
      await cluster.stop(follower);
      const commands = await proposeMany(leader, "missed", 300);
      const number = numberOf(members, follower);
      const source = await serverFolder(numberOf(members, leader), "snapshots");
      // All rounds of the leader pass without another snapshot, for a while: none is under way or due.
      let last = 0;
      let quiet = 0;
      await eventually("a compacted log, and no snapshot under way", async () => {
        const index = Number(leader.consensus.stats().last_snapshot_index);
        const busy = (await readdir(source)).some((name) => name.startsWith("tmp-"));
        quiet = busy || index !== last ? 0 : quiet + 1;
        last = index;
        return index > 200 && quiet >= 10;
      });
      return { leader, follower, number, commands, source };
    };
    const newest = async (folder: string) => {
      const [snapshot] = await new SnapshotStore(folder, 2, new ListLogger(), snapshotMeta).list();
      assert.ok(snapshot !== undefined);
      return snapshot;
    };

    it("goes on after a crash before the snapshot was the log's start", async () => {
      const { follower, number, commands, source } = await behind();
      const { folder, meta } = await newest(source);
      await cp(folder, await serverFolder(number, "snapshots", `${meta.term}-${meta.index}`), {
        recursive: true,
      });
      const back = await cluster.start(number, { machine: follower.machine });
      await cluster.applied(back, commands);
    });

    it("goes on after a crash between the log's new start and the machine's", async () => {
      const { follower, number, commands, source } = await behind();
      const { folder, meta } = await newest(source);
      await cp(folder, await serverFolder(number, "snapshots", `${meta.term}-${meta.index}`), {
        recursive: true,
      });
      const log = new LmdbLogStore({ folder: await serverFolder(number, "raft"), minFreeBytes: 0 });
      await log.open(follower.consensus.id);
      await log.write({ hardState: null, entries: [], base: meta, reset: true });
      await log.close();
      const restores = follower.machine.restores;
      const back = await cluster.start(number, { machine: follower.machine });
      assert.equal(back.machine.restores, restores + 1);
      assert.ok(back.machine.lastApplied() >= meta.index);
      await cluster.applied(back, commands);
    });

    it("goes on with what it has of a snapshot when it was stopped in the middle", async () => {
      const { follower, number, commands, source } = await behind();
      const { folder, state } = await newest(source);
      const incoming = await serverFolder(number, "snapshots", "incoming");
      await cp(folder, incoming, { recursive: true });
      const path = join("inner", "state.json");
      const whole = await readFile(join(state, path));
      await writeFile(join(incoming, "state", path), whole.subarray(0, 100));
      const back = await cluster.start(number, { machine: follower.machine });
      await cluster.applied(back, commands);
      assert.equal(existsSync(incoming), false);
      assert.ok(cluster.running.get(number)!.machine.restores > 0);
    });

    it("takes no snapshot that is damaged on the leader, and a later one instead", async () => {
      const { leader, follower, number, commands, source } = await behind();
      for (const name of await readdir(source)) {
        const path = join(source, name, "state", "inner", "state.json");
        const content = await readFile(path);
        content[10]! ^= 1;
        await writeFile(path, content);
      }
      const back = await cluster.start(number, { machine: follower.machine });
      await eventually("the complaint", () =>
        back.log.has(/could not be fetched; the leader will offer it again.*differs from what was written/),
      );
      assert.equal(back.machine.restores, 0);
      await proposeMany(leader, "more", 200);
      await cluster.applied(back, [...commands, "more199"]);
      assert.deepEqual(back.failures, []);
    });

    it("does not start on a snapshot that is damaged when it needs it", async () => {
      const { follower, number, commands } = await behind();
      const back = await cluster.start(number, { machine: follower.machine });
      await cluster.applied(back, commands);
      await cluster.stop(back);
      const folder = await serverFolder(number, "snapshots");
      for (const name of await readdir(folder)) {
        const path = join(folder, name, "state", "inner", "state.json");
        await writeFile(path, (await readFile(path)).subarray(1));
      }
      await assert.rejects(cluster.start(number), /no whole snapshot fills the gap/);
      cluster.running.delete(number);
      // What the message says helps: an empty folder rejoins, under a new id.
      assert.ok(back.machine.commands.length > 0);
    });

    it("fetches a copy that was put in force while it was away, also when it starts with nothing but its log", async () => {
      const members = await cluster.begin(1, 2, 3);
      const leader = await cluster.leader();
      const follower = cluster.followers(leader)[0]!;
      const kept = await proposeMany(leader, "kept", 5);
      const folder = await serverFolder(numberOf(members, leader), "saved");
      await leader.consensus.saveSnapshot(folder);
      await proposeMany(leader, "undone", 5);
      await cluster.stop(follower);
      const index = await leader.consensus.restoreSnapshot(folder);
      assert.equal(leader.machine.lastApplied() >= index, true);
      const number = numberOf(members, follower);
      const back = await cluster.start(number, { machine: follower.machine });
      await eventually("the copy in force", () => back.machine.lastApplied() >= index);
      assert.deepEqual(new Set(back.machine.commands), new Set(kept));
      await cluster.stop(back);
      const empty: ListMachine = (await cluster.start(number)).machine;
      await eventually("the copy in force again", () => empty.lastApplied() >= index);
      assert.deepEqual(new Set(empty.commands), new Set(kept));
      // Once the log has gone on far enough, the copy is removed.
      const copies = await serverFolder(numberOf(members, leader), "restores");
      assert.equal((await readdir(copies)).length, 1);
      await proposeMany(leader, "later", 200);
      await eventually("the removal", async () => (await readdir(copies)).length === 0);
    });

    it("puts a copy of a longer log in force after that log's last index", async () => {
      const old = new TestCluster();
      try {
        const [source] = await old.begin(1);
        await proposeMany(source!, "old", 300);
        const folder = join(await old.folder(1), "saved");
        const { index } = await source!.consensus.saveSnapshot(folder);
        await cluster.begin(1, 2, 3);
        const leader = await cluster.leader();
        assert.ok((await leader.consensus.restoreSnapshot(folder)) > index);
        await leader.consensus.propose(encode("new"));
        for (const member of cluster.running.values()) {
          await cluster.applied(member, ["old0", "old299", "new"]);
          assert.equal(member.machine.commands.length, 301);
        }
      } finally {
        await old.close();
      }
    });
  });

  it("keeps nothing that it does not need: no incoming copy, no folder of an interrupted snapshot", async () => {
    const [only] = await cluster.begin(1);
    await proposeMany(only!, "c", 120);
    await cluster.stop(only!);
    const folder = await serverFolder(1, "snapshots");
    await cp(join(folder, (await readdir(folder))[0]!), join(folder, "tmp-interrupted"), { recursive: true });
    await cluster.start(1);
    assert.ok((await readdir(folder)).every((name) => /^\d+-\d+$/.test(name)));
  });
});
