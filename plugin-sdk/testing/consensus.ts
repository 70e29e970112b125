/** What every implementation of `Consensus` must do, ours or a stranger's. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Consensus, NotLeaderError, type StateMachine } from "../contracts/consensus.js";
import { RecordingMachine } from "./consensus-machine.js";

/** One server of the implementation under test, on storage that outlives its instances. */
export interface ConsensusUnderTest {
  /** `host:port` that other servers reach it at. */
  readonly address: string;
  /** A new instance over the same storage, ready for `start`; the last one was stopped. */
  open(): Promise<Consensus> | Consensus;
  /** Removes the storage. */
  close(): Promise<void> | void;
}

const encoder = new TextEncoder();
/**
 * Registers the conformance tests with node:test. `create` gives fresh, empty storage for a cluster of one server.
 */
export function consensusConformance(
  name: string,
  create: () => Promise<ConsensusUnderTest> | ConsensusUnderTest,
): void {
  describe(`${name}: conformance of Consensus`, () => {
    let subject: ConsensusUnderTest;
    let running: Consensus | undefined;

    const start = async (machine: StateMachine): Promise<Consensus> => {
      running = await subject.open();
      await running.start(machine);
      await begin(running, [{ id: running.id, address: subject.address }]);
      await leads(running);
      return running;
    };
    const stop = async (): Promise<void> => {
      await running?.stop();
      running = undefined;
    };

    beforeEach(async () => {
      subject = await create();
    });
    afterEach(async () => {
      await stop();
      await subject.close();
    });

    it("applies each command once, in the order proposed, and answers with its index and result", async () => {
      const machine = new RecordingMachine();
      const consensus = await start(machine);
      const first = await consensus.propose(encoder.encode("a"));
      const second = await consensus.propose(encoder.encode("b"));
      assert.deepEqual(machine.commands, ["a", "b"]);
      assert.equal(first.result, "A");
      assert.equal(second.result, "B");
      assert.ok(second.index > first.index);
      const applied = machine.entries.find(({ command }) => command === "b");
      assert.equal(applied?.index, second.index);
      assert.equal(applied?.term, consensus.term());
    });

    it("keeps the order of commands proposed together, and applies them in batches", async () => {
      const machine = new RecordingMachine();
      const consensus = await start(machine);
      const commands = Array.from({ length: 200 }, (_, number) => `c${number}`);
      const proposed = await Promise.all(
        commands.map((command) => consensus.propose(encoder.encode(command))),
      );
      assert.deepEqual(machine.commands, commands);
      assert.deepEqual(
        proposed.map(({ result }) => result),
        commands.map((command) => command.toUpperCase()),
      );
      assert.ok(Math.max(...machine.batches) > 1, "more than one entry in a batch");
    });

    it("rejects with the machine's error for a command that it refuses, and goes on", async () => {
      const machine = new RecordingMachine();
      const consensus = await start(machine);
      await assert.rejects(consensus.propose(encoder.encode("refuse")), /refused by the machine/);
      assert.equal((await consensus.propose(encoder.encode("next"))).result, "NEXT");
      assert.deepEqual(machine.commands, ["refuse", "next"]);
    });

    it("gives every command again to an empty machine after a restart", async () => {
      const first = await start(new RecordingMachine());
      for (const command of ["a", "b", "c"]) await first.propose(encoder.encode(command));
      await stop();
      const machine = new RecordingMachine();
      const second = await start(machine);
      await second.barrier();
      assert.deepEqual(machine.commands, ["a", "b", "c"]);
    });

    it("gives a machine that kept its state only what it has not applied", async () => {
      const machine = new RecordingMachine();
      const first = await start(machine);
      await first.propose(encoder.encode("a"));
      await stop();
      const term = first.term();
      const second = await start(machine);
      await second.propose(encoder.encode("b"));
      // The machine itself asserts that no index comes twice.
      assert.deepEqual(machine.commands, ["a", "b"]);
      assert.ok(second.term() >= term, "terms never go back");
    });

    it("refuses proposals while it is not started or stopped, as a server that does not lead", async () => {
      const consensus = await subject.open();
      await assert.rejects(consensus.propose(encoder.encode("early")), isNotLeader);
      await start(new RecordingMachine());
      const started = running!;
      await stop();
      await assert.rejects(started.propose(encoder.encode("late")), isNotLeader);
      assert.equal(started.isLeader(), false);
    });

    it("lets a barrier pass once everything proposed before it is applied", async () => {
      const machine = new RecordingMachine();
      const consensus = await start(machine);
      const proposed = Array.from({ length: 20 }, (_, number) =>
        consensus.propose(encoder.encode(`c${number}`)),
      );
      await proposed[0];
      const before = machine.lastApplied();
      const index = await consensus.barrier();
      assert.ok(index >= before);
      assert.ok(machine.lastApplied() >= index);
      await Promise.all(proposed);
    });

    it("tells leadership listeners the present state at once and every change after it", async () => {
      const consensus = await subject.open();
      const seen: boolean[] = [];
      const removed: boolean[] = [];
      consensus.onLeadership((leader) => seen.push(leader));
      consensus.onLeadership((leader) => removed.push(leader))();
      assert.deepEqual(seen, [false]);
      running = consensus;
      await consensus.start(new RecordingMachine());
      await begin(consensus, [{ id: consensus.id, address: subject.address }]);
      await leads(consensus);
      const late: [boolean, number][] = [];
      consensus.onLeadership((leader, term) => late.push([leader, term]));
      assert.deepEqual(late, [[true, consensus.term()]]);
      await stop();
      assert.deepEqual(seen, [false, true, false]);
      assert.deepEqual(removed, [false]);
    });

    it("names itself as peer and leader under an id that survives restarts", async () => {
      const first = await start(new RecordingMachine());
      const { id } = first;
      assert.equal(first.leader()?.id, id);
      assert.deepEqual(
        first.peers().map((peer) => [peer.id, peer.voter, peer.leader]),
        [[id, true, true]],
      );
      await stop();
      assert.equal((await start(new RecordingMachine())).id, id);
    });
  });
}

/** Begins a cluster where consensus keeps its own members and this server has none yet. */
export async function begin(
  consensus: Consensus,
  servers: readonly { readonly id: string; readonly address: string }[],
): Promise<void> {
  if (consensus.membership?.bootstrapped() === false) await consensus.membership.bootstrap(servers);
}

function isNotLeader(error: unknown): boolean {
  return error instanceof NotLeaderError;
}

/** Waits until a lone server leads; rejects after ten seconds. */
function leads(consensus: Consensus): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = false;
    let remove: () => void = () => undefined;
    const timeout = setTimeout(() => reject(new Error("no leadership within 10 seconds")), 10_000);
    remove = consensus.onLeadership((leader) => {
      if (!leader || done) return;
      done = true;
      clearTimeout(timeout);
      resolve();
      queueMicrotask(() => remove());
    });
  });
}
