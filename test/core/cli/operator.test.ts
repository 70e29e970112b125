/** `operator raft|autopilot` against prepared answers, as Nomad's documentation shows them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeAgent } from "./run-command.js";

const server = (ID: string, more: object = {}) => ({
  Address: `10.0.0.${ID}:4647`,
  ID,
  Leader: false,
  Node: `server-${ID}.global`,
  RaftProtocol: "3",
  Voter: true,
  ...more,
});
const RAFT = {
  Index: 0,
  Servers: [server("1"), server("2", { Leader: true }), server("3", { Voter: false })],
};

test("raft list-peers shows who takes part and who leads", async () => {
  await using agent = await FakeAgent.start({ "GET /v1/operator/raft/configuration": { body: RAFT } });
  const { code, out } = await agent.run("operator", "raft", "list-peers");
  assert.equal(code, 0);
  assert.equal(
    out,
    [
      "Node             ID  Address        State     Voter  RaftProtocol",
      "server-1.global  1   10.0.0.1:4647  follower  true   3",
      "server-2.global  2   10.0.0.2:4647  leader    true   3",
      "server-3.global  3   10.0.0.3:4647  follower  false  3",
      "",
    ].join("\n"),
  );
  await agent.run("operator", "raft", "list-peers", "-stale");
  assert.deepEqual(
    agent.asked.map(({ query }) => query.get("stale")),
    [null, "true"],
  );
  const json = await agent.run("operator", "raft", "list-peers", "-json");
  assert.deepEqual(JSON.parse(json.out), RAFT);
});

test("raft remove-peer names one server, and says why it was refused", async () => {
  await using agent = await FakeAgent.start(({ query }) =>
    query.get("id") === "x"
      ? { status: 500, body: 'id "x" was not found in the Raft configuration' }
      : { body: null },
  );
  const removed = await agent.run("operator", "raft", "remove-peer", "-peer-id=2");
  assert.deepEqual([removed.code, removed.out], [0, 'Removed peer with id "2"\n']);
  const byAddress = await agent.run("operator", "raft", "remove-peer", "-peer-address", "10.0.0.2:4647");
  assert.equal(byAddress.out, 'Removed peer with address "10.0.0.2:4647"\n');
  assert.deepEqual(
    agent.asked.map(({ method, path, query }) => `${method} ${path}?${query}`),
    ["DELETE /v1/operator/raft/peer?id=2", "DELETE /v1/operator/raft/peer?address=10.0.0.2%3A4647"],
  );
  const unknown = await agent.run("operator", "raft", "remove-peer", "-peer-id=x");
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /^Error removing peer: .*id "x" was not found in the Raft configuration/);
  const none = await agent.run("operator", "raft", "remove-peer");
  assert.equal(none.code, 1);
  assert.match(none.err, /by -peer-id or -peer-address: drover operator raft list-peers shows both/);
  const both = await agent.run("operator", "raft", "remove-peer", "-peer-id=1", "-peer-address=b");
  assert.match(both.err, /not both/);
  assert.equal(agent.asked.length, 3);
});

test("raft transfer-leadership says who led and who leads", async () => {
  const answer = { From: server("2"), To: server("1", { Leader: true }), Noop: false };
  await using agent = await FakeAgent.start({
    "PUT /v1/operator/raft/transfer-leadership?id=1": { body: answer },
    "PUT /v1/operator/raft/transfer-leadership?id=2": { body: { ...answer, To: server("2"), Noop: true } },
  });
  const { code, out } = await agent.run("operator", "raft", "transfer-leadership", "-peer-id=1");
  assert.equal(code, 0);
  assert.equal(
    out,
    "Transferred leadership from server-2.global (2 at 10.0.0.2:4647) to server-1.global (1 at 10.0.0.1:4647)\n",
  );
  const again = await agent.run("operator", "raft", "transfer-leadership", "-peer-id=2");
  assert.equal(again.out, 'Peer with id "2" leads already: server-2.global (2 at 10.0.0.2:4647)\n');
});

const CONFIG = {
  CleanupDeadServers: true,
  CreateIndex: 4,
  DisableUpgradeMigration: false,
  EnableCustomUpgrades: false,
  EnableRedundancyZones: false,
  LastContactThreshold: "200ms",
  MaxTrailingLogs: 250,
  MinQuorum: 0,
  ModifyIndex: 17,
  ServerStabilizationTime: "10s",
};
const CONFIG_PATH = "/v1/operator/autopilot/configuration";

test("autopilot get-config shows the settings under Nomad's names", async () => {
  await using agent = await FakeAgent.start({ [`GET ${CONFIG_PATH}`]: { body: CONFIG } });
  const { out } = await agent.run("operator", "autopilot", "get-config");
  assert.equal(
    out,
    "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\nMinQuorum = 0\n" +
      "ServerStabilizationTime = 10s\nEnableRedundancyZones = false\nDisableUpgradeMigration = false\n" +
      "EnableCustomUpgrades = false\n",
  );
  const json = await agent.run("operator", "autopilot", "get-config", "-json");
  assert.deepEqual(JSON.parse(json.out), CONFIG);
});

test("autopilot set-config changes what is given, unless somebody else did meanwhile", async () => {
  let updated = true;
  await using agent = await FakeAgent.start(({ method }) => ({ body: method === "GET" ? CONFIG : updated }));
  const { code, out } = await agent.run(
    "operator",
    "autopilot",
    "set-config",
    "-cleanup-dead-servers=false",
    "-max-trailing-logs=9",
    "-min-quorum=3",
    "-last-contact-threshold=1s",
    "-server-stabilization-time=1m",
  );
  assert.deepEqual([code, out], [0, "Configuration updated!\n"]);
  const { query, body } = agent.asked.at(-1)!;
  assert.equal(query.get("cas"), "17");
  assert.deepEqual(body, {
    ...CONFIG,
    CleanupDeadServers: false,
    MaxTrailingLogs: 9,
    MinQuorum: 3,
    LastContactThreshold: "1s",
    ServerStabilizationTime: "1m",
  });
  updated = false;
  const late = await agent.run("operator", "autopilot", "set-config", "-min-quorum=5");
  assert.equal(late.code, 1);
  assert.match(late.err, /could not be atomically updated: somebody else changed it/);
  const nonsense = await agent.run("operator", "autopilot", "set-config", "-min-quorum=few");
  assert.notEqual(nonsense.code, 0);
});

test("autopilot health shows each server, also when they are not well", async () => {
  const health = {
    FailureTolerance: 0,
    Healthy: true,
    Servers: [
      {
        Address: "127.0.0.1:4647",
        Healthy: true,
        ID: "e349749b-3303-3ddf-959c-b5885a0e1f6e",
        LastContact: "0s",
        LastIndex: 14,
        LastTerm: 2,
        Leader: true,
        Name: "node1",
        SerfStatus: "alive",
        StableSince: "2024-02-20T16:40:55Z",
        Version: "1.7.5",
        Voter: true,
      },
    ],
  };
  let status = 200;
  let body: unknown = health;
  await using agent = await FakeAgent.start(() => ({ status, body }));
  const { code, out } = await agent.run("operator", "autopilot", "health");
  assert.equal(code, 0);
  assert.equal(
    out,
    `Healthy: true
FailureTolerance: 0
Leader: e349749b-3303-3ddf-959c-b5885a0e1f6e
Voters:
        e349749b-3303-3ddf-959c-b5885a0e1f6e
Servers:
ID                                    Name   Address         SerfStatus  Version  Leader  Voter  Healthy  LastContact  LastTerm  LastIndex  StableSince
e349749b-3303-3ddf-959c-b5885a0e1f6e  node1  127.0.0.1:4647  alive       1.7.5    true    true   true     0s           2         14         2024-02-20T16:40:55Z
`,
  );
  status = 429;
  body = { ...health, Healthy: false, Servers: [] };
  const unwell = await agent.run("operator", "autopilot", "health");
  assert.equal(unwell.code, 0);
  assert.match(unwell.out, /^Healthy: false\nFailureTolerance: 0\nLeader: <none>\n/);
  body = "Too many blocking queries";
  const refused = await agent.run("operator", "autopilot", "health");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /Error querying Autopilot health: .*429 \(Too many blocking queries\)/);
});
