/** What every implementation of `Consensus` must do with three servers, ours or a stranger's. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Consensus, NotLeaderError } from "../contracts/consensus.js";
import { begin, type ConsensusUnderTest } from "./consensus.js";
import { RecordingMachine } from "./consensus-machine.js";
import { eventually } from "./eventually.js";

/** Servers of the implementation under test, which reach each other. */
export interface ConsensusClusterUnderTest {
  /**
   * Four servers over empty storage. The tests begin a cluster of the first three; the fourth joins where the implementation
   * has `membership`. They take a snapshot at the latest after 100 commands, and keep no more than 100 before it.
   */
  readonly servers: readonly ConsensusUnderTest[];
  /** Takes away what the log needs to commit, and gives it back, where that is not a majority of the servers themselves. */
  readonly majority?: { lose(): Promise<void>; regain(): Promise<void> };
  /** Removes what the servers shared; called after each of them was closed. */
  close(): Promise<void> | void;
}

const encoder = new TextEncoder();
const CLUSTER = [0, 1, 2];

interface Member {
  readonly position: number;
  consensus: Consensus;
  machine: RecordingMachine;
}

/** Registers the conformance tests of a cluster with node:test. */
export function consensusClusterConformance(
  name: string,
  createCluster: () => Promise<ConsensusClusterUnderTest> | ConsensusClusterUnderTest,
): void {
  describe(`${name}: conformance of Consensus with three servers`, () => {
    let cluster: ConsensusClusterUnderTest;
    let folder: string;
    const running = new Map<number, Member>();

    /** Starts a server; it keeps its machine's state when it is given the machine again. */
    const start = async (position: number, machine = new RecordingMachine()): Promise<Member> => {
      const consensus = await cluster.servers[position]!.open();
      const member = { position, consensus, machine };
      running.set(position, member);
      await consensus.start(machine);
      return member;
    };
    const stop = async (member: Member): Promise<void> => {
      running.delete(member.position);
      await member.consensus.stop();
    };
    const members = (): Member[] => [...running.values()];
    const leader = (): Promise<Member> =>
      eventually("one leader that all servers name", () => {
        const leading = members().filter(({ consensus }) => consensus.isLeader());
        const [first] = leading;
        if (first === undefined || leading.length > 1) return undefined;
        const agreed = members().every(({ consensus }) => consensus.leader()?.id === first.consensus.id);
        return agreed ? first : undefined;
      });
    const followers = (leading: Member): Member[] => members().filter((member) => member !== leading);
    /** Proposes on whoever leads, again where it is certain that nothing was written. */
    const propose = async (command: string): Promise<{ index: number; result: unknown }> => {
      for (;;) {
        try {
          return await (await leader()).consensus.propose(encoder.encode(command));
        } catch (error) {
          if (!(error instanceof NotLeaderError)) throw error;
        }
      }
    };
    const proposeMany = async (prefix: string, count: number): Promise<string[]> => {
      const commands = Array.from({ length: count }, (_, number) => `${prefix}${number}`);
      for (let from = 0; from < count; from += 20) {
        await Promise.all(commands.slice(from, from + 20).map(propose));
      }
      return commands;
    };
    const applied = (member: Member, commands: readonly string[]): Promise<unknown> =>
      eventually(`server ${member.position} applies ${commands.length} commands`, () =>
        commands.every((command) => member.machine.commands.includes(command)),
      );
    /** Every server gets to the leader's last applied entry, by the same commands. */
    const agree = async (): Promise<void> => {
      const leading = await leader();
      await leading.consensus.barrier();
      const { commands } = leading.machine;
      const index = leading.machine.lastApplied();
      for (const member of members()) {
        await eventually(
          `server ${member.position} applies entry ${index}`,
          () => member.machine.lastApplied() >= index,
        );
        assert.deepEqual(member.machine.commands.slice(0, commands.length), commands);
      }
    };

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), "drover-consensus-"));
      cluster = await createCluster();
      for (const position of CLUSTER) await start(position);
      const addresses = members().map(({ position, consensus }) => ({
        id: consensus.id,
        address: cluster.servers[position]!.address,
      }));
      await begin(running.get(0)!.consensus, addresses);
    });
    afterEach(async () => {
      for (const member of members()) await stop(member);
      for (const server of cluster.servers) await server.close();
      await cluster.close();
      await rm(folder, { recursive: true, force: true });
    });

    it("elects one leader, whom every server names", async () => {
      const leading = await leader();
      for (const { consensus } of members()) {
        assert.equal(consensus.leader()?.id, leading.consensus.id);
        assert.equal(consensus.peers().length, 3);
        assert.deepEqual(
          consensus.peers().map((peer) => peer.id),
          leading.consensus.peers().map((peer) => peer.id),
        );
      }
    });

    it("applies the same commands in the same order on every server", async () => {
      const leading = await leader();
      const commands = Array.from({ length: 200 }, (_, number) => `c${number}`);
      const proposed = await Promise.all(
        commands.map((command) => leading.consensus.propose(encoder.encode(command))),
      );
      assert.deepEqual(
        proposed.map(({ result }) => result),
        commands.map((command) => command.toUpperCase()),
      );
      await agree();
      for (const { machine } of members()) assert.deepEqual(machine.commands, commands);
    });

    it("refuses proposals on a follower and names the leader with its address", async () => {
      const leading = await leader();
      for (const { consensus } of followers(leading)) {
        await assert.rejects(consensus.propose(encoder.encode("no")), (error) => {
          assert.ok(error instanceof NotLeaderError);
          assert.equal(error.leader?.id, leading.consensus.id);
          assert.equal(error.leader?.address, cluster.servers[leading.position]!.address);
          return true;
        });
      }
    });

    it("tells the leader how far every server is", async () => {
      const leading = await leader();
      await proposeMany("c", 20);
      const progress = await eventually("every server has the leader's last entry", () => {
        const found = leading.consensus.progress();
        const last = found.find(({ id }) => id === leading.consensus.id)?.lastIndex;
        return found.length === 3 && found.every(({ lastIndex }) => lastIndex === last) ? found : undefined;
      });
      for (const { id, lastContact, lastTerm } of progress) {
        assert.equal(lastTerm, leading.consensus.term());
        if (id === leading.consensus.id) assert.equal(lastContact, 0);
        else assert.equal(typeof lastContact, "number");
      }
      for (const { consensus } of followers(leading)) assert.deepEqual(consensus.progress(), []);
    });

    it("loses nothing that was acknowledged when the leader stops, and applies nothing twice", async () => {
      const acknowledged: string[] = [];
      let writing = true;
      const write = async (writer: number): Promise<void> => {
        for (let number = 0; writing; number++) {
          const command = `w${writer}-${number}`;
          try {
            await propose(command);
            acknowledged.push(command);
          } catch (error) {
            // Whether it is in the log is not known, and either is right.
            assert.equal((error as { code?: string }).code, "ERR_OUTCOME_UNKNOWN");
          }
        }
      };
      const first = await leader();
      const { machine, position } = first;
      const term = first.consensus.term();
      const writers = Array.from({ length: 8 }, (_, writer) => write(writer));
      try {
        await eventually("some commands", () => acknowledged.length > 100);
        await stop(first);
        const second = await leader();
        assert.notEqual(second.position, position);
        assert.ok(second.consensus.term() > term, "another leader has a higher term");
        const before = acknowledged.length;
        await eventually("more commands", () => acknowledged.length > before + 100);
      } finally {
        writing = false;
        await Promise.all(writers);
      }
      await start(position, machine);
      await agree();
      for (const member of members()) {
        const { commands } = member.machine;
        assert.equal(new Set(commands).size, commands.length, "no command twice");
        const missing = acknowledged.filter((command) => !commands.includes(command));
        assert.deepEqual(missing, [], `acknowledged and lost on server ${member.position}`);
      }
    });

    it("does not acknowledge without a majority, and goes on when it is back", async () => {
      await propose("before");
      const first = await leader();
      const { majority } = cluster;
      const gone = majority === undefined ? followers(first) : [];
      for (const member of gone) await stop(member);
      await majority?.lose();
      await eventually("the last server no longer leads", () => !first.consensus.isLeader());
      await assert.rejects(first.consensus.propose(encoder.encode("alone")), NotLeaderError);
      await assert.rejects(first.consensus.barrier(), NotLeaderError);
      for (const { position, machine } of gone) await start(position, machine);
      await majority?.regain();
      await propose("after");
      await agree();
      for (const { machine } of members()) assert.deepEqual(machine.commands, ["before", "after"]);
    });

    it("hands leadership to the server that is named, and to another one when none is", async () => {
      const first = await leader();
      const chosen = followers(first)[0]!;
      await assert.rejects(chosen.consensus.transferLeadership(), NotLeaderError);
      await first.consensus.transferLeadership(chosen.consensus.id);
      assert.equal(first.consensus.isLeader(), false);
      const second = await leader();
      assert.equal(second.position, chosen.position);
      await propose("between");
      await second.consensus.transferLeadership();
      const third = await leader();
      assert.notEqual(third.position, second.position);
      await propose("after");
      await agree();
      await assert.rejects(third.consensus.transferLeadership("nobody"), /nobody/);
      assert.equal(third.consensus.isLeader(), true);
    });

    it("lets a server that was away too long catch up by a snapshot, also one that lost its state", async () => {
      const leading = await leader();
      const away = followers(leading)[0]!;
      await proposeMany("early", 10);
      await agree();
      await stop(away);
      await proposeMany("missed", 600);
      const back = await start(away.position, away.machine);
      await agree();
      assert.ok(back.machine.restores > 0, "the log no longer reaches that far back");
      await stop(back);
      const fresh = await start(away.position);
      await proposeMany("late", 10);
      await agree();
      assert.ok(fresh.machine.restores > 0);
    });

    it("lets a barrier on a follower pass only once it has applied what was acknowledged before", async () => {
      const leading = await leader();
      for (let round = 0; round < 30; round++) {
        const command = `c${round}`;
        const { index } = await leading.consensus.propose(encoder.encode(command));
        for (const { consensus, machine } of followers(leading)) {
          assert.ok((await consensus.barrier()) >= index);
          assert.ok(machine.commands.includes(command));
        }
      }
    });

    it("puts a saved copy in the place of the state on every server, also of one that is away", async () => {
      const kept = await proposeMany("kept", 30);
      const leading = await leader();
      const copy = join(folder, "copy");
      await leading.consensus.barrier();
      const saved = await leading.consensus.saveSnapshot(copy);
      assert.equal(saved.index, leading.machine.lastApplied());
      assert.equal(saved.peers.length, 3);
      await proposeMany("undone", 30);
      await agree();
      const [away, follower] = followers(leading);
      await assert.rejects(follower!.consensus.restoreSnapshot(copy), NotLeaderError);
      await stop(away!);
      const index = await leading.consensus.restoreSnapshot(copy);
      assert.ok(index > saved.index);
      assert.deepEqual(sorted(leading.machine.commands), sorted(kept));
      const { index: next } = await propose("after");
      assert.ok(next > index);
      await start(away!.position, away!.machine);
      await agree();
      for (const { machine } of members())
        assert.deepEqual(sorted(machine.commands), sorted([...kept, "after"]));
      // It holds after a restart of all, with the machines' states lost.
      for (const member of members()) await stop(member);
      for (const position of CLUSTER) await start(position);
      await agree();
      for (const { machine } of members())
        assert.deepEqual(sorted(machine.commands), sorted([...kept, "after"]));
    });

    it("refuses a copy that is not whole, and goes on with the state it has", async () => {
      const leading = await leader();
      await propose("kept");
      await assert.rejects(leading.consensus.restoreSnapshot(join(folder, "nothing")));
      await propose("after");
      await agree();
      assert.deepEqual(leading.machine.commands, ["kept", "after"]);
    });

    it("keeps terms, ids and commands over a restart of every server", async () => {
      const commands = await proposeMany("c", 30);
      const term = (await leader()).consensus.term();
      const ids = members().map(({ consensus }) => consensus.id);
      for (const member of members()) await stop(member);
      for (const position of CLUSTER) await start(position);
      const leading = await leader();
      assert.ok(leading.consensus.term() >= term);
      assert.deepEqual(
        members().map(({ consensus }) => consensus.id),
        ids,
      );
      await agree();
      assert.deepEqual(sorted(leading.machine.commands), sorted(commands));
    });

    it("adds a server without a vote, gives it one, and removes servers, the leader too", async (context) => {
      const first = await leader();
      const { membership } = first.consensus;
      if (membership === undefined) {
        // Not skipped: what runs would not be stopped then.
        context.diagnostic("members are kept by an engine outside");
        return;
      }
      const commands = await proposeMany("c", 150);
      const fourth = await start(3);
      const { id } = fourth.consensus;
      assert.equal(fourth.consensus.membership!.bootstrapped(), false);
      await assert.rejects(followers(first)[0]!.consensus.membership!.addNonvoter(id, "a:1"), NotLeaderError);
      await membership.addNonvoter(id, cluster.servers[3]!.address);
      await applied(fourth, commands);
      const voter = () => first.consensus.peers().find((peer) => peer.id === id)?.voter;
      assert.equal(voter(), false);
      await membership.promote(id);
      assert.equal(voter(), true);
      await agree();
      assert.equal(fourth.consensus.membership!.bootstrapped(), true);
      await assert.rejects(
        fourth.consensus.membership!.bootstrap([{ id, address: cluster.servers[3]!.address }]),
      );
      await membership.demote(id);
      assert.equal(voter(), false);
      await membership.promote(id);
      await assert.rejects(membership.promote("nobody"), /nobody/);
      // The leader goes, and the others go on without it.
      await membership.remove(first.consensus.id);
      await eventually("the removed leader steps down", () => !first.consensus.isLeader());
      await stop(first);
      const second = await leader();
      assert.equal(second.consensus.peers().length, 3);
      await propose("after");
      await agree();
    });
  });
}

const sorted = (commands: readonly string[]): string[] => [...commands].sort();
