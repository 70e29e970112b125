import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { encode, type Member, proposeMany, TestCluster } from "./support.js";

describe("peers.json", () => {
  let cluster: TestCluster;
  beforeEach(() => {
    cluster = new TestCluster();
  });
  afterEach(() => cluster.close());

  const raftFolder = async (number: number) => join(await cluster.folder(number), "server", "raft");
  const write = async (number: number, content: unknown) =>
    writeFile(
      join(await raftFolder(number), "peers.json"),
      typeof content === "string" ? content : JSON.stringify(content),
    );
  const peer = ({ consensus, address }: Member) => ({ id: consensus.id, address });

  it("lets the servers that are left go on, once, with everything that was acknowledged", async () => {
    const members = await cluster.begin(1, 2, 3, 4, 5);
    const leader = await cluster.leader();
    const kept = await proposeMany(leader, "kept", 130);
    for (const member of members) await cluster.applied(member, kept);
    for (const member of members) await cluster.stop(member);
    // Three of five are lost; the two that are left can't elect a leader.
    const left = members.slice(0, 2);
    for (const number of [1, 2]) {
      assert.match(await readFile(join(await raftFolder(number), "peers.info"), "utf8"), /peers\.json/);
      await write(number, left.map(peer));
    }
    for (const number of [1, 2]) await cluster.start(number);
    const second = await cluster.leader();
    assert.deepEqual(
      second.consensus.peers().map(({ id, voter }) => [id, voter]),
      left.map(({ consensus }) => [consensus.id, true]),
    );
    await proposeMany(second, "after", 130);
    for (const member of cluster.running.values()) await cluster.applied(member, [...kept, "after129"]);
    assert.ok(second.log.has(/peers\.json takes the place of the raft configuration/));
    for (const number of [1, 2])
      assert.equal(existsSync(join(await raftFolder(number), "peers.json")), false);
    // It holds: a new server joins the smaller cluster, by a snapshot that knows of no lost ones.
    const fresh = await cluster.start(6);
    await second.consensus.membership.addNonvoter(fresh.consensus.id, fresh.address);
    await cluster.applied(fresh, ["after129"]);
    // The entry that adds it may come after what the snapshot holds.
    await eventually("its own place", () => fresh.consensus.peers().length === 3);
  });

  it("makes one server of three a cluster of its own, over a restart", async () => {
    const members = await cluster.begin(1, 2, 3);
    const commands = await proposeMany(await cluster.leader(), "c", 10);
    for (const member of members) await cluster.applied(member, commands);
    for (const member of members) await cluster.stop(member);
    await write(1, [{ ...peer(members[0]!), non_voter: false }]);
    for (let round = 0; round < 2; round++) {
      const only = await cluster.start(1);
      await cluster.leader();
      await only.consensus.propose(encode(`round${round}`));
      assert.equal(only.consensus.peers().length, 1);
      await cluster.stop(only);
    }
  });

  it("refuses to start with a file that can't be used, naming file, place and key, and changes nothing", async () => {
    const [first] = await cluster.begin(1);
    const commands = await proposeMany(first!, "c", 5);
    await cluster.stop(first!);
    const self = peer(first!);
    const cases: [unknown, RegExp][] = [
      ["", /peers\.json.*: it is (empty|not valid JSON)/],
      ['[\n  { "id": "a" "address" }\n]', /peers\.json, line 2, column \d+: it is not valid JSON: /],
      ["// none\n[]", /line 1, column 1: it is not valid JSON/],
      [{}, /line 1, column 1: the list of servers: /],
      [[], /the list of servers: /],
      [[{ id: self.id }], /server 1, "address": /],
      [`[\n  {"id": "${self.id}",\n   "address": 7}\n]`, /line 3, column 15: server 1, "address": /],
      [[{ ...self, voter: true }], /server 1: .*"voter"/],
      [[{ ...self, address: "nowhere" }], /must be host:port, and is "nowhere"/],
      [[self, self], /is named twice/],
      [[self, { id: "b", address: self.address }], /is the address of server .*, and of b too/],
      [[{ ...self, non_voter: true }], /non_voter is true for every server/],
      [[{ id: "b", address: "10.0.0.2:4647" }], /it does not name this server/],
    ];
    for (const [content, expected] of cases) {
      await write(1, content);
      await assert.rejects(cluster.start(1), (error: Error) => {
        assert.match(error.message, expected, JSON.stringify(content));
        assert.match(error.message, /peers\.info/);
        return true;
      });
      cluster.running.delete(1);
    }
    assert.equal(existsSync(join(await raftFolder(1), "peers.json")), true);
    await write(1, [self]);
    const again = await cluster.start(1);
    await cluster.leader();
    await cluster.applied(again, commands);
  });

  it("recovers nothing on a server that was never part of a cluster", async () => {
    const empty = await cluster.start(1);
    await cluster.stop(empty);
    await write(1, [peer(empty)]);
    await assert.rejects(cluster.start(1), /never part of a cluster/);
    cluster.running.delete(1);
  });

  it("does not commit what only the lost servers could have committed otherwise", async () => {
    const members = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    await leader.consensus.propose(encode("acknowledged"));
    for (const member of members) await cluster.applied(member, ["acknowledged"]);
    // Two servers with logs of different length agree by election, as ever.
    const [short, long] = cluster.followers(leader);
    await cluster.stop(short!);
    await proposeMany(leader, "more", 30);
    await cluster.applied(long!, ["more29"]);
    await cluster.stop(long!);
    await cluster.stop(leader);
    const numbers = [short!, long!].map((member) => members.indexOf(member) + 1);
    for (const number of numbers) await write(number, [short!, long!].map(peer));
    for (const number of numbers) await cluster.start(number);
    const elected = await cluster.leader();
    assert.equal(elected.consensus.id, long!.consensus.id);
    for (const member of cluster.running.values()) await cluster.applied(member, ["acknowledged", "more29"]);
    await eventually("one state", () => {
      const [a, b] = [...cluster.running.values()].map(({ machine }) => machine.commands.join());
      return a === b;
    });
  });
});
