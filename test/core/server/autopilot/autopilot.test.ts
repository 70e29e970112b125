import assert from "node:assert/strict";
import { test } from "node:test";
import { type AgentMember, DEFAULT_AUTOPILOT_SETTINGS, type Peer } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { deadServers } from "../../../../core/server/autopilot/dead-servers.js";
import { ServerHealths } from "../../../../core/server/autopilot/server-health.js";
import { addressOf, idOf, PaperServers, peersOf } from "../members/paper-servers.js";

const peer = (number: number, extra: Partial<Peer> = {}): Peer => ({
  id: idOf(number),
  address: addressOf(number),
  voter: true,
  leader: number === 1,
  ...extra,
});

const member = (number: number, Status = "alive"): AgentMember =>
  ({
    Name: `server-${number}.global`,
    Status,
    Tags: { id: idOf(number), build: "1.0.0" },
  }) as unknown as AgentMember;

test("a server is healthy that is alive, heard of, in the leader's term and not far behind", () => {
  const clock = { now: 0 };
  const healths = new ServerHealths(() => clock.now);
  const logs = { lastContact: 0, lastIndex: 1_000, lastTerm: 5 };
  const seen = (second: object, status = "alive") => ({
    peers: [peer(1), peer(2)],
    progress: [
      { id: idOf(1), ...logs },
      { id: idOf(2), ...logs, ...second },
    ],
    members: [member(1), member(2, status)],
    settings: DEFAULT_AUTOPILOT_SETTINGS,
  });
  const isHealthy = (second: object, status?: string) => {
    const all = seen(second, status);
    healths.observe(all);
    return healths.report(all).Servers[1]!.Healthy;
  };
  assert.equal(isHealthy({ lastContact: 200, lastIndex: 750 }), true);
  assert.equal(isHealthy({ lastContact: 201 }), false);
  assert.equal(isHealthy({ lastContact: null }), false);
  assert.equal(isHealthy({ lastIndex: 749 }), false);
  assert.equal(isHealthy({ lastTerm: 4 }), false);
  assert.equal(isHealthy({}, "failed"), false);
  clock.now = 7;
  assert.equal(isHealthy({}), true);
  clock.now = 12;
  isHealthy({});
  assert.equal(healths.stableFor(idOf(2)), 5);
  assert.equal(healths.stableFor(idOf(2), false), 0);
  const silent = seen({ lastContact: null });
  healths.observe(silent);
  const [, second] = healths.report(silent).Servers;
  assert.equal(second?.LastContact, "never");
  healths.observe({ ...silent, peers: [peer(1)] });
  assert.equal(healths.stableFor(idOf(2), false), 0, "one that is gone is forgotten");
});

test("the failure tolerance is what is healthy beyond the quorum of the voters", () => {
  const report = (voters: number, failed: number, others = 0) => {
    const numbers = Array.from({ length: voters + others }, (_, i) => i + 1);
    const seen = {
      peers: numbers.map((number) => peer(number, { voter: number <= voters })),
      progress: numbers.map((number) => ({ id: idOf(number), lastContact: 0, lastIndex: 1, lastTerm: 1 })),
      members: numbers.map((number) =>
        member(number, number > voters - failed && number <= voters ? "failed" : "alive"),
      ),
      settings: DEFAULT_AUTOPILOT_SETTINGS,
    };
    const healths = new ServerHealths();
    healths.observe(seen);
    const { FailureTolerance, Healthy } = healths.report(seen);
    return [FailureTolerance, Healthy];
  };
  assert.deepEqual(report(1, 0), [0, true]);
  assert.deepEqual(report(3, 0), [1, true]);
  assert.deepEqual(report(3, 1), [0, false]);
  assert.deepEqual(report(5, 1), [1, false]);
  assert.deepEqual(report(5, 4), [0, false]);
  assert.deepEqual(report(3, 0, 2), [1, true], "those without a vote help nothing");
});

test("what is removed leaves the others a quorum of before, MinQuorum, and the leader (property)", () => {
  const anyPeers = fc.array(fc.record({ voter: fc.boolean(), failed: fc.boolean() }), { maxLength: 8 });
  fc.assert(
    fc.property(anyPeers, fc.nat(6), (list, MinQuorum) => {
      const peers = [peer(1), ...list.map(({ voter }, i) => peer(i + 2, { voter, leader: false }))];
      const members = [member(1), ...list.map(({ failed }, i) => member(i + 2, failed ? "failed" : "alive"))];
      const settings = { ...DEFAULT_AUTOPILOT_SETTINGS, MinQuorum };
      const { removable, kept } = deadServers(peers, members, settings, () => true);
      assert.ok(removable.every(({ leader }) => !leader));
      const voters = peers.filter(({ voter }) => voter).length;
      const removed = removable.filter(({ voter }) => voter).length;
      if (removed > 0) assert.ok(removed < voters / 2 && voters - removed >= MinQuorum && kept === undefined);
      const failed = list.filter(({ failed, voter }) => failed && voter).length;
      assert.equal(kept === undefined, removed === failed);
    }),
  );
});

test("of three servers a dead one stays until a fourth has its vote, of five it goes", () => {
  const dead = (voters: number) => {
    const numbers = Array.from({ length: voters }, (_, i) => i + 1);
    return deadServers(
      numbers.map((number) => peer(number)),
      numbers.map((number) => member(number, number === voters ? "failed" : "alive")),
      DEFAULT_AUTOPILOT_SETTINGS,
      () => true,
    ).removable.map(({ id }) => id);
  };
  assert.deepEqual([dead(2), dead(3), dead(4), dead(5)], [[], [], [idOf(4)], [idOf(5)]]);
});

test("one that consensus still hears, or heard lately, is not dead, whatever the members say", () => {
  const peers = [1, 2, 3, 4, 5].map((number) => peer(number));
  const members = [1, 2, 3, 4].map((number) => member(number, number === 4 ? "failed" : "alive"));
  const removable = (silent: readonly number[]) =>
    deadServers(peers, members, DEFAULT_AUTOPILOT_SETTINGS, (id) =>
      silent.map(idOf).includes(id),
    ).removable.map(({ id }) => id);
  assert.deepEqual(removable([]), []);
  assert.deepEqual(removable([4]), [idOf(4)]);
  assert.deepEqual(
    removable([1, 2, 5]),
    [idOf(5)],
    "one that no member list knows goes by its silence alone",
  );
});

test("a failed server is removed where the others keep a quorum, and not before it was away for long enough", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3, 4, 5], { expect: 5 });
  const leader = all[0]!;
  await eventually("a leader", () => leader.consensus.isLeader());
  const { operator } = leader.server.endpoints;
  await operator.setAutopilotConfiguration({
    CleanupDeadServers: true,
    MaxTrailingLogs: 250,
    ServerStabilizationTime: "10m",
  });
  await all[4]!.server.stop();
  servers.network.leave(addressOf(5));
  await eventually("it is seen", async () => {
    const { FailureTolerance, Healthy, Servers } = await operator.autopilotHealth();
    return !Healthy && FailureTolerance === 1 && Servers[4]?.SerfStatus === "failed";
  });
  assert.equal(peersOf(leader).length, 5);
  await operator.setAutopilotConfiguration({
    CleanupDeadServers: false,
    MaxTrailingLogs: 250,
    ServerStabilizationTime: "20ms",
  });
  await operator.setAutopilotConfiguration({
    CleanupDeadServers: true,
    MaxTrailingLogs: 250,
    MinQuorum: 5,
    ServerStabilizationTime: "20ms",
  });
  await eventually("why it stays", () =>
    servers.logged("warn", /4 voters would be left, and MinQuorum is 5/),
  );
  assert.equal(peersOf(leader).length, 5);
  await operator.setAutopilotConfiguration({
    CleanupDeadServers: true,
    MaxTrailingLogs: 250,
    ServerStabilizationTime: "20ms",
  });
  await eventually("it is removed", () => peersOf(leader).join() === "1,2,3,4");
  await eventually("all is well", async () => (await operator.autopilotHealth()).Healthy);
});

test("a server that lags gets no vote", async (t) => {
  const servers = new PaperServers(t);
  const leader = await servers.start({ number: 1, expect: 1 });
  await leader.server.endpoints.operator.setAutopilotConfiguration({ ServerStabilizationTime: "20ms" });
  servers.world.silent.add(idOf(2));
  await servers.start({ number: 2, expect: 0, retryJoin: [1] });
  const health = async () => (await leader.server.endpoints.operator.autopilotHealth()).Servers[1];
  await eventually("it is there", async () => (await health())?.LastContact === "1m0s");
  const { Healthy, Voter, Version } = (await health())!;
  assert.deepEqual([Healthy, Voter, Version], [false, false, "0.0.0"]);
  servers.world.silent.clear();
  await eventually("it is heard, and gets its vote", () => peersOf(leader).join() === "1,2");
});

test("health is as the leader sees it, whichever server is asked", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3]);
  await eventually("a leader", () => all[0]!.consensus.isLeader());
  const { Servers } = await all[1]!.server.endpoints.operator.autopilotHealth();
  assert.deepEqual(
    Servers.map(({ Address, Leader }) => [Address, Leader]).sort(),
    [1, 2, 3].map((number) => [addressOf(number), number === 1]),
  );
});

test("the settings are those of the first leader's configuration, and change at the index that the caller names", async (t) => {
  const servers = new PaperServers(t);
  const { operator } = (await servers.start({ number: 1, expect: 1 })).server.endpoints;
  const first = operator.autopilotConfiguration();
  assert.deepEqual(first, {
    ...DEFAULT_AUTOPILOT_SETTINGS,
    CreateIndex: first.ModifyIndex,
    ModifyIndex: first.ModifyIndex,
  });
  assert.ok(first.ModifyIndex > 0);
  const change = { ...first, LastContactThreshold: "1000ms" };
  assert.equal((await operator.setAutopilotConfiguration(change, first.ModifyIndex + 1)).Updated, false);
  assert.equal(operator.autopilotConfiguration().LastContactThreshold, "200ms");
  assert.equal((await operator.setAutopilotConfiguration(change, first.ModifyIndex)).Updated, true);
  assert.equal(operator.autopilotConfiguration().LastContactThreshold, "1s");
  assert.equal(operator.autopilotConfiguration().CreateIndex, first.CreateIndex);
});

test("wrong settings are refused by name", async (t) => {
  const servers = new PaperServers(t);
  const { operator } = (await servers.start({ number: 1, expect: 1 })).server.endpoints;
  for (const [body, expected] of [
    [
      { LastContactThreshold: "soon" },
      /autopilot configuration: LastContactThreshold: "soon" is not a duration above zero/,
    ],
    [{ ServerStabilizationTime: "-1s" }, /ServerStabilizationTime: "-1s" is not a duration above zero/],
    [{ MaxTrailingLogs: -1 }, /MaxTrailingLogs/],
    [{ CleanupDeadServers: "yes" }, /CleanupDeadServers/],
    ["settings", /autopilot configuration/],
  ] as const) {
    await assert.rejects(operator.setAutopilotConfiguration(body), expected);
  }
});
