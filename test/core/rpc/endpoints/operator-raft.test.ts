import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type AgentMember,
  type Consensus,
  EndpointError,
  NotLeaderError,
  type Peer,
} from "@drover/plugin-sdk";
import { OperatorRaft } from "../../../../core/rpc/endpoints/operator-raft.js";

const peer = (id: string, more: Partial<Peer> = {}): Peer => ({
  id,
  address: `10.0.0.${id.charCodeAt(0) - 96}:4647`,
  voter: true,
  leader: false,
  ...more,
});

/** A cluster of servers a (which leads), b, and c without a vote. */
function fixture(changes: { membership?: undefined; self?: string; peers?: readonly Peer[] } = {}) {
  const done: string[] = [];
  const peers = changes.peers ?? [peer("a", { leader: true }), peer("b"), peer("c", { voter: false })];
  const self = changes.self ?? "a";
  const consensus = {
    id: self,
    membership:
      "membership" in changes ? undefined : { remove: async (id: string) => void done.push(`remove ${id}`) },
    peers: () => peers,
    leader: () => peers.find(({ leader }) => leader),
    isLeader: () => peers.find(({ leader }) => leader)?.id === self,
    transferLeadership: async (id: string) => void done.push(`transfer ${id}`),
    stats: () => ({ latest_configuration_index: 12 }),
  } as unknown as Consensus;
  const member = (name: string, Tags: Record<string, string>) =>
    ({ Name: name, Addr: "", Tags }) as AgentMember;
  const members = [
    member("one.global", { id: "a", rpc_addr: "10.0.0.1", port: "4647", raft_vsn: "3" }),
    member("two.global", { rpc_addr: "10.0.0.2", port: "4647" }),
  ];
  return { raft: new OperatorRaft(consensus, () => members), done };
}

test("the configuration names the servers as their members are known, by id and by address", () => {
  assert.deepEqual(fixture().raft.raftConfiguration(), {
    Index: 12,
    Servers: [
      { Address: "10.0.0.1:4647", ID: "a", Leader: true, Node: "one.global", RaftProtocol: "3", Voter: true },
      {
        Address: "10.0.0.2:4647",
        ID: "b",
        Leader: false,
        Node: "two.global",
        RaftProtocol: "3",
        Voter: true,
      },
      {
        Address: "10.0.0.3:4647",
        ID: "c",
        Leader: false,
        Node: "(unknown)",
        RaftProtocol: "3",
        Voter: false,
      },
    ],
  });
});

test("a server is removed by its id or its address, the leader too", async () => {
  const { raft, done } = fixture();
  await raft.removeRaftPeer({ id: "b" });
  await raft.removeRaftPeer({ address: "10.0.0.3:4647" });
  await raft.removeRaftPeer({ id: "a" });
  assert.deepEqual(done, ["remove b", "remove c", "remove a"]);
});

test("what can't be removed is refused in words", async () => {
  const { raft, done } = fixture();
  const refused = async (work: Promise<unknown>, status: number, message: RegExp | string) => {
    await assert.rejects(work, (error: Error) => {
      assert.ok(error instanceof EndpointError, String(error));
      assert.equal(error.status, status);
      if (typeof message === "string") assert.equal(error.message, message);
      else assert.match(error.message, message);
      return true;
    });
  };
  await refused(raft.removeRaftPeer({ id: "x" }), 500, 'id "x" was not found in the Raft configuration');
  await refused(
    raft.removeRaftPeer({ address: "10.0.0.9:4647" }),
    500,
    'address "10.0.0.9:4647" was not found in the Raft configuration',
  );
  await refused(
    raft.removeRaftPeer({}),
    400,
    /Must specify either \?id .* or \?address .* of peer to remove/,
  );
  await refused(
    raft.removeRaftPeer({ id: "a", address: "b" }),
    400,
    "Must specify only one of ?id or ?address",
  );
  await refused(raft.transferLeadership({}), 400, /of peer to transfer leadership to/);
  await refused(raft.transferLeadership({ id: "c" }), 400, /has no vote/);
  await refused(raft.transferLeadership({ id: "x" }), 500, /was not found/);
  const alone = fixture({ peers: [peer("a", { leader: true }), peer("c", { voter: false })] });
  await refused(alone.raft.removeRaftPeer({ id: "a" }), 400, /the only server with a vote/);
  await alone.raft.removeRaftPeer({ id: "c" });
  await refused(
    fixture({ membership: undefined }).raft.removeRaftPeer({ id: "b" }),
    400,
    /keeps its own members/,
  );
  assert.deepEqual(done, []);
});

test("elsewhere than on the leader nothing is done, and the leader is named", async () => {
  const { raft, done } = fixture({ self: "b" });
  for (const work of [raft.removeRaftPeer({ id: "c" }), raft.transferLeadership({ id: "b" })]) {
    await assert.rejects(work, (error) => error instanceof NotLeaderError && error.leader?.id === "a");
  }
  assert.deepEqual(done, []);
});

test("leadership is handed on, and one that leads already keeps it", async () => {
  const { raft, done } = fixture();
  const { From, To, Noop } = await raft.transferLeadership({ address: "10.0.0.2:4647" });
  assert.deepEqual([From.ID, From.Leader, To.ID, To.Leader, Noop], ["a", false, "b", true, false]);
  assert.equal((await raft.transferLeadership({ id: "a" })).Noop, true);
  assert.deepEqual(done, ["transfer b"]);
});
