import assert from "node:assert/strict";
import { readdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Consensus } from "@drover/plugin-sdk";
import { decodeConfiguration } from "../../../plugins/consensus-raft/core/configuration.js";
import { LmdbLogStore } from "../../../plugins/consensus-raft/lmdb-log-store.js";
import { ADDRESS, encode, ListMachine, server, startAlone, temporaryFolder, until } from "./support.js";

describe("RaftConsensus", () => {
  let folder: string;
  let remove: () => Promise<void>;
  const started: Consensus[] = [];

  beforeEach(async () => {
    ({ path: folder, remove } = await temporaryFolder());
  });
  afterEach(async () => {
    for (const consensus of started.splice(0)) await consensus.stop();
    await remove();
  });

  const run = async (
    machine: ListMachine,
    ...options: Parameters<typeof server> extends [string, ...infer R] ? R : never
  ) => {
    const made = await server(folder, ...options);
    await startAlone(made.consensus, machine);
    started.push(made.consensus);
    return made;
  };
  const propose = (consensus: Consensus, from: number, to: number) =>
    Promise.all(
      Array.from({ length: to - from }, (_, offset) => consensus.propose(encode(`c${from + offset}`))),
    );
  const commands = (to: number) => Array.from({ length: to }, (_, number) => `c${number}`);

  it("leads as soon as it has started, and has applied everything the log holds", async () => {
    const first = await run(new ListMachine());
    assert.equal(first.consensus.isLeader(), true);
    await propose(first.consensus, 0, 3000);
    await first.consensus.stop();
    const machine = new ListMachine();
    const second = await run(machine);
    assert.deepEqual(machine.commands, commands(3000));
    const stats = second.consensus.stats();
    assert.equal(stats.state, "Leader");
    assert.equal(stats.fsm_pending, 0);
    assert.equal(stats.num_peers, 0);
    assert.equal(stats.applied_index, machine.lastApplied());
  });

  it("takes snapshots, keeps two, compacts the log and restores a machine that lost its state", async () => {
    const config = { snapshot_threshold: 100, snapshot_interval: 0, trailing_logs: 20 };
    const machine = new ListMachine();
    const { consensus } = await run(machine, config);
    for (let from = 0; from < 1000; from += 100) {
      await propose(consensus, from, from + 100);
      const due = Number(consensus.stats().last_snapshot_index);
      await until(
        () => Number(consensus.stats().last_snapshot_index) > due - 1 && machine.snapshots > from / 100 - 1,
        "snapshot",
      );
    }
    await consensus.stop();
    assert.equal((await readdir(join(folder, "server", "snapshots"))).length, 2);
    const fresh = new ListMachine();
    await run(fresh, config);
    assert.equal(fresh.restores, 1);
    assert.deepEqual(fresh.commands, commands(1000));
  });

  it("does not touch a machine that is ahead of the log's start", async () => {
    const config = { snapshot_threshold: 50, snapshot_interval: 0, trailing_logs: 0 };
    const machine = new ListMachine();
    const { consensus } = await run(machine, config);
    await propose(consensus, 0, 200);
    await until(() => Number(consensus.stats().last_snapshot_index) > 0, "a snapshot");
    await consensus.stop();
    await run(machine, config);
    assert.equal(machine.restores, 0);
    assert.deepEqual(machine.commands, commands(200));
  });

  it("falls back to an older snapshot that the log still follows when the newest is damaged", async () => {
    const config = { snapshot_threshold: 100, snapshot_interval: 0, trailing_logs: 10_000 };
    const machine = new ListMachine();
    const { consensus, log } = await run(machine, config);
    for (const from of [0, 150]) {
      const before = Number(consensus.stats().last_snapshot_index);
      await propose(consensus, from, from + 150);
      await until(() => Number(consensus.stats().last_snapshot_index) > before, "a snapshot");
    }
    assert.ok(log.lines.includes("took a snapshot"));
    await consensus.stop();
    // Make the log start after 1, so that an empty machine needs a snapshot.
    const store = new LmdbLogStore({ folder: join(folder, "server", "raft"), minFreeBytes: 0 });
    const { entries } = await store.open(consensus.id);
    const configuration = decodeConfiguration([...entries][0]!.data);
    await store.write({ hardState: null, entries: [], base: { index: 1, term: 1, configuration } });
    await store.close();
    const snapshots = join(folder, "server", "snapshots");
    const newest = (await readdir(snapshots)).sort(
      (a, b) => Number(b.split("-")[1]) - Number(a.split("-")[1]),
    )[0]!;
    await truncate(join(snapshots, newest, "state", "inner", "state.json"), 10);
    const fresh = new ListMachine();
    const second = await run(fresh, config);
    assert.ok(second.log.lines.includes("snapshot is damaged; trying an older one"));
    assert.deepEqual(fresh.commands, commands(300));
  });

  it("refuses to start, naming folder and entry, when no snapshot fills the gap before the log", async () => {
    const config = { snapshot_threshold: 50, snapshot_interval: 0, trailing_logs: 0 };
    const { consensus } = await run(new ListMachine(), config);
    await propose(consensus, 0, 100);
    await until(() => Number(consensus.stats().last_snapshot_index) > 0, "a snapshot");
    await consensus.stop();
    await rm(join(folder, "server", "snapshots"), { recursive: true });
    await assert.rejects(run(new ListMachine(), config), /no whole snapshot fills the gap/);
  });

  it("refuses a state that is ahead of its log", async () => {
    const machine = new ListMachine();
    const { consensus } = await run(machine);
    await propose(consensus, 0, 10);
    await consensus.stop();
    await rm(join(folder, "server", "raft"), { recursive: true });
    await assert.rejects(run(machine), /has applied entry 12, but the raft log in .* ends at 0/);
  });

  it("goes on with a log from before clusters had names, and is found by its own id", async () => {
    const made = await server(folder);
    const { id } = made.consensus;
    const store = new LmdbLogStore({ folder: join(folder, "server", "raft"), minFreeBytes: 0 });
    await store.open(id);
    const configuration = { servers: [{ id, address: ADDRESS, voter: true }] };
    await store.write({
      hardState: { term: 1, vote: id, commit: 2 },
      entries: ["a", "b"].map((text, at) => ({
        index: at + 1,
        term: 1,
        kind: "command",
        data: encode(text),
      })),
      base: { index: 0, term: 0, configuration },
    });
    await store.close();
    const machine = new ListMachine();
    const config = { snapshot_threshold: 10, snapshot_interval: 0, trailing_logs: 0 };
    const { consensus } = await run(machine, config);
    assert.deepEqual(machine.commands, ["a", "b"]);
    await propose(consensus, 0, 40);
    await until(() => Number(consensus.stats().last_snapshot_index) > 0, "a snapshot");
    await consensus.stop();
    const again = await server(folder);
    const stored = new LmdbLogStore({ folder: join(folder, "server", "raft"), minFreeBytes: 0 });
    const { base } = await stored.open(again.consensus.id);
    assert.equal(base.configuration.cluster, id);
    await stored.close();
  });

  it("refuses a log of another server, and a damaged id file", async () => {
    const { consensus } = await run(new ListMachine());
    await consensus.stop();
    const machine = new ListMachine();
    const file = join(folder, "server", "node-id");
    await writeFile(file, "00000000-0000-4000-8000-000000000000\n");
    await assert.rejects(run(machine), /restore the node-id that belongs to the log/);
    await writeFile(file, "nonsense");
    await assert.rejects(run(machine), /must hold the server's id/);
  });

  it("bounds what is under way by number, bytes and size of a command", async () => {
    const machine = new ListMachine();
    const limits = { max_inflight: 4, max_inflight_bytes: 100, max_command_bytes: 60 };
    const { consensus } = await run(machine, limits);
    await assert.rejects(consensus.propose(new Uint8Array(61)), { code: "ERR_COMMAND_TOO_LARGE" });
    const large = [consensus.propose(new Uint8Array(60)), consensus.propose(new Uint8Array(60))];
    const outcomes = await Promise.allSettled(large);
    assert.deepEqual(
      outcomes.map((outcome) =>
        outcome.status === "rejected" ? (outcome.reason as { code: string }).code : "taken",
      ),
      ["taken", "ERR_CONSENSUS_BUSY"],
    );
    const small = await Promise.allSettled(
      Array.from({ length: 6 }, (_, number) => consensus.propose(encode(`s${number}`))),
    );
    assert.equal(small.filter(({ status }) => status === "fulfilled").length, 4);
    await consensus.propose(encode("after"));
  });

  it("refuses commands on a full disk, keeps what was acknowledged, and goes on when there is space", async () => {
    let free = Number.POSITIVE_INFINITY;
    const logStore = new LmdbLogStore({
      folder: join(folder, "server", "raft"),
      minFreeBytes: 1024,
      freeBytes: () => free,
    });
    const machine = new ListMachine();
    const { consensus, failures } = await run(machine, {}, { logStore });
    await propose(consensus, 0, 10);
    free = 1000;
    const refused = await Promise.allSettled([
      consensus.propose(encode("x")),
      consensus.propose(encode("y")),
    ]);
    for (const outcome of refused) {
      assert.equal(outcome.status, "rejected");
      assert.equal(outcome.reason.code, "ERR_DISK_FULL");
      assert.match(outcome.reason.message, /no space for the raft log in .*raft: 1000 bytes are free/);
    }
    assert.equal(consensus.isLeader(), true);
    await consensus.barrier();
    free = Number.POSITIVE_INFINITY;
    await propose(consensus, 10, 20);
    assert.deepEqual(machine.commands, commands(20));
    assert.deepEqual(failures, []);
    await consensus.stop();
    const again = new ListMachine();
    await run(again);
    assert.deepEqual(again.commands, commands(20));
  });

  it("fails to start on a disk that is full, and starts later", async () => {
    const logStore = (free: number) =>
      new LmdbLogStore({ folder: join(folder, "server", "raft"), minFreeBytes: 1024, freeBytes: () => free });
    await assert.rejects(run(new ListMachine(), {}, { logStore: logStore(0) }), { code: "ERR_DISK_FULL" });
    await run(new ListMachine(), {}, { logStore: logStore(4096) });
  });

  it("goes down when the machine can't apply, and answers that the outcome is not known", async () => {
    const machine = new ListMachine();
    const { consensus, failures } = await run(machine);
    machine.apply = () => {
      throw new Error("state store is broken");
    };
    await assert.rejects(consensus.propose(encode("a")), { code: "ERR_OUTCOME_UNKNOWN" });
    assert.deepEqual(
      failures.map(({ message }) => message),
      ["state store is broken"],
    );
    assert.equal(consensus.isLeader(), false);
    await assert.rejects(consensus.propose(encode("b")), /state store is broken/);
  });

  it("goes down when the log can't be written for any other reason than space", async () => {
    const logStore = new LmdbLogStore({ folder: join(folder, "server", "raft"), minFreeBytes: 0 });
    const { consensus, failures } = await run(new ListMachine(), {}, { logStore });
    const write = logStore.write.bind(logStore);
    logStore.write = () => Promise.reject(new Error("input/output error"));
    await assert.rejects(consensus.propose(encode("a")), { code: "ERR_OUTCOME_UNKNOWN" });
    assert.match(failures[0]!.message, /input\/output error/);
    logStore.write = write;
  });

  it("keeps the log when a snapshot fails, and removes what it left", async () => {
    const machine = new ListMachine();
    const config = { snapshot_threshold: 10, snapshot_interval: 0, trailing_logs: 0 };
    const { consensus, log } = await run(machine, config);
    const working = machine.snapshot.bind(machine);
    machine.snapshot = () => Promise.reject(new Error("no space left on device"));
    await propose(consensus, 0, 20);
    await until(() => log.lines.some((line) => line.startsWith("snapshot failed")), "the failure");
    assert.deepEqual(await readdir(join(folder, "server", "snapshots")), []);
    machine.snapshot = working;
    await propose(consensus, 20, 40);
    await until(() => Number(consensus.stats().last_snapshot_index) > 0, "a snapshot");
  });

  it("keeps nothing on disk but its id and snapshots in memory mode", async () => {
    const agent = {
      dataDir: folder,
      devMode: true,
      region: "global",
      advertise: { http: "", rpc: "127.0.0.1:4647", serf: "" },
    };
    const machine = new ListMachine();
    const { consensus } = await run(
      machine,
      { snapshot_threshold: 10, snapshot_interval: 0, trailing_logs: 0 },
      { agent },
    );
    await propose(consensus, 0, 50);
    assert.deepEqual(machine.commands, commands(50));
    assert.deepEqual((await readdir(join(folder, "server"))).sort(), ["node-id", "snapshots"]);
  });
});
