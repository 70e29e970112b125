import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { StateTable } from "@drover/plugin-sdk";
import { storageError } from "../../../core/state/errors.js";
import { encodeCommand, WaitTimeoutError } from "../../../core/state/index.js";
import { StateStore } from "../../../core/state/store.js";
import {
  evaluations,
  type Machine,
  makeAllocation,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  temporaryFolder,
} from "./support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

describe("a snapshot", () => {
  it("does not see what is committed after it", () => {
    machine.apply(registration(makeJob()));
    const before = machine.store.snapshot();
    machine.apply(registration(makeJob({ ID: "later" })), registration(makeJob({ Priority: 99 })));
    const after = machine.store.snapshot();
    assert.deepEqual([before.index, after.index], [1, 3]);
    assert.deepEqual(
      [...before.jobs()].map((job) => job.Priority),
      [50],
    );
    assert.deepEqual(
      [...after.jobs()].map((job) => [job.ID, job.Priority]),
      [
        ["later", 50],
        ["web", 99],
      ],
    );
    assert.deepEqual([before.tableIndex("jobs"), after.tableIndex("jobs", "nodes")], [1, 3]);
  });

  it("gives rows that can be changed without changing anything", () => {
    machine.apply(registration(makeJob()));
    const snapshot = machine.store.snapshot();
    snapshot.job("default", "web")!.Priority = 1;
    assert.equal(snapshot.job("default", "web")?.Priority, 50);
  });

  it("can't be read once it is closed, and closing twice is fine", () => {
    const snapshot = machine.store.snapshot();
    snapshot.close();
    snapshot.close();
    assert.throws(() => snapshot.job("default", "web"), /the snapshot at index 0 is closed/);
  });

  it("may be closed while it is walked, and walks longer tables than one chunk", () => {
    const jobs = Array.from({ length: 700 }, (_, i) => makeJob({ ID: `job-${String(i).padStart(3, "0")}` }));
    machine.apply(...jobs.map((job) => registration(job)));
    const snapshot = machine.store.snapshot();
    assert.deepEqual(
      [...snapshot.jobs()].map((job) => job.ID),
      jobs.map((job) => job.ID),
    );
    assert.throws(() => {
      for (const _ of snapshot.jobs()) snapshot.close();
    }, /is closed/);
    machine.apply(registration(makeJob()));
  });

  it("lists by namespace and prefix", () => {
    machine.apply(
      ...["web", "web-2", "worker"].map((ID) => registration(makeJob({ ID }))),
      registration(makeJob({ ID: "web", Namespace: "dev" })),
    );
    const snapshot = machine.store.snapshot();
    const ids = (filter: object): string[] =>
      [...snapshot.jobs(filter)].map((job) => `${job.Namespace}/${job.ID}`);
    assert.deepEqual(ids({ namespace: "default", prefix: "web" }), ["default/web", "default/web-2"]);
    assert.deepEqual(ids({ prefix: "web" }), ["default/web", "default/web-2", "dev/web"]);
    assert.deepEqual(ids({ namespace: "dev" }), ["dev/web"]);
    assert.deepEqual(ids({ namespace: "de" }), []);
  });

  it("finds ids by any length of prefix, whether they are UUIDs or not, and those that begin with zeros", () => {
    const ids = [
      "00000000-0000-4000-8000-000000000001",
      "0a1b2c3d-0000-4000-8000-000000000001",
      "0a1f2c3d-0000-4000-8000-000000000001",
      "ff000000-0000-4000-8000-000000000001",
      "0a-node",
      "fifteen-letters",
    ];
    machine.apply(...ids.map((ID) => nodeRegistration(makeNode({ ID }))));
    const snapshot = machine.store.snapshot();
    const found = (prefix?: string): string[] => [...snapshot.nodes(prefix)].map((node) => node.ID);
    assert.deepEqual(found(), ids.slice(0, 4).concat("0a-node", "fifteen-letters"));
    assert.equal(snapshot.nodeCount(), ids.length);
    assert.deepEqual(found("0a1"), ids.slice(1, 3));
    assert.deepEqual(found("0a1b2c3d-0"), [ids[1]]);
    assert.deepEqual(found("0a"), [ids[1], ids[2], "0a-node"]);
    assert.deepEqual(found("f"), [ids[3], "fifteen-letters"]);
    assert.deepEqual(found("zz"), []);
    for (const id of ids) assert.deepEqual(found(id), [id]);
  });
});

describe("waiting", () => {
  it("for an index ends at once, when it is applied, by timeout or by abort", async () => {
    machine.apply(registration(makeJob()));
    await machine.store.waitForIndex(1, 1);
    const reached = machine.store.waitForIndex(3, 60_000);
    machine.apply(registration(makeJob({ ID: "a" })), registration(makeJob({ ID: "b" })));
    await reached;
    await assert.rejects(
      machine.store.waitForIndex(9, 1),
      (error) => error instanceof WaitTimeoutError && /index 9/.test(error.message),
    );
    const abort = new AbortController();
    const waiting = machine.store.waitForIndex(9, 60_000, abort.signal);
    abort.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
    await assert.rejects(machine.store.waitForIndex(9, 60_000, abort.signal), /enough/);
  });

  it("for a change minds the tables and the index", async () => {
    machine.apply(registration(makeJob()));
    const { signal } = new AbortController();
    await machine.store.waitForChange([StateTable.Jobs], 0, signal);
    let done = false;
    const changed = machine.store
      .waitForChange([StateTable.Nodes, StateTable.Allocations], 1, signal)
      .then(() => {
        done = true;
      });
    machine.apply(evaluations(makeEvaluation()));
    await new Promise(setImmediate);
    assert.equal(done, false);
    machine.apply(nodeRegistration(makeNode()));
    await changed;
    const abort = new AbortController();
    const waiting = machine.store.waitForChange([StateTable.Jobs], 99, abort.signal);
    abort.abort();
    await assert.rejects(waiting, { name: "AbortError" });
  });

  it("tells listeners what each batch changed, until they leave, whatever another listener throws", () => {
    const seen: unknown[] = [];
    machine.store.onApplied(() => {
      throw new Error("this listener fails");
    });
    const leave = machine.store.onApplied((index, tables) => seen.push([index, [...tables].sort()]));
    machine.apply(nodeRegistration(makeNode()));
    machine.apply(registration(makeJob(), makeEvaluation()));
    machine.fsm.apply([{ index: 3, term: 2, data: new Uint8Array() }]);
    leave();
    machine.apply(nodeRegistration(makeNode()));
    assert.deepEqual(seen, [
      [1, ["nodes"]],
      [2, ["evals", "job_summary", "job_versions", "jobs"]],
      [3, []],
    ]);
  });

  it("ends with an error when the store closes", async () => {
    const other = openMachine();
    const snapshot = other.store.snapshot();
    const waiting = assert.rejects(other.store.waitForIndex(5, 60_000), /the state store is closed/);
    await other.close();
    await waiting;
    assert.throws(() => other.store.snapshot(), /is closed/);
    assert.throws(() => snapshot.node("x"), /is closed/);
    snapshot.close();
  });
});

describe("the log", () => {
  const entry = (index: number, data: Uint8Array): { index: number; term: number; data: Uint8Array } => ({
    index,
    term: 1,
    data,
  });

  it("moves the index without doing anything for an empty entry", () => {
    assert.deepEqual(machine.fsm.apply([entry(4, new Uint8Array())]), [undefined]);
    assert.equal(machine.fsm.lastApplied(), 4);
    assert.deepEqual(machine.fsm.apply([]), []);
  });

  it("is refused where an entry comes again", () => {
    machine.apply(registration(makeJob()));
    assert.throws(
      () => machine.fsm.apply([entry(1, new Uint8Array())]),
      /log entry 1 was delivered to the state again/,
    );
  });

  it("is refused as a whole batch for an unknown command or a newer codec", () => {
    const good = encodeCommand(registration(makeJob()));
    const unknown = encodeCommand({ type: 250, payload: {} } as never);
    assert.throws(
      () => machine.fsm.apply([entry(1, good), entry(2, unknown)]),
      /log entry 2 of term 1: log entry has command type 250, which this server does not know: upgrade it/,
    );
    const newer = Uint8Array.from(good);
    newer[1] = 9;
    assert.throws(() => machine.fsm.apply([entry(1, newer)]), /command codec version 9, this server knows 1/);
    assert.throws(() => machine.fsm.apply([entry(1, good.slice(0, 40))]), /not readable as MessagePack/);
    assert.equal(machine.fsm.lastApplied(), 0);
    const snapshot = machine.store.snapshot();
    assert.equal(snapshot.job("default", "web"), null);
  });
});

describe("opening", () => {
  it("goes on at the applied index, with everything that was there", async () => {
    const node = makeNode();
    const allocation = makeAllocation({ NodeID: node.ID });
    machine.apply(nodeRegistration(node), registration(makeJob()), plan({ Placed: [allocation] }));
    machine = await machine.reopen();
    assert.equal(machine.fsm.lastApplied(), 3);
    assert.equal(machine.store.needsRebuild, false);
    const snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocationsByNode(node.ID)[0]?.ID, allocation.ID);
    assert.equal(snapshot.tableIndex("allocs"), 3);
    machine.apply(registration(makeJob({ ID: "next" })));
    assert.equal(machine.fsm.lastApplied(), 4);
  });

  it("keeps the folder to its owner", () => {
    assert.equal(statSync(machine.store.path).mode & 0o777, 0o700);
  });

  it("is refused for another region, with what was found and expected", async () => {
    await assert.rejects(machine.reopen({ region: "mars" }), (error: Error) => {
      assert.match(error.message, /belongs to region "global", expected "mars"/);
      assert.ok(error.message.includes(machine.store.path));
      return true;
    });
    machine = openMachine(machine.folder);
  });

  it("is refused for a newer schema, with what was found and expected", async () => {
    machine.store.env.transactionSync(() => void machine.store.tables.meta.putSync("schema", 99));
    await machine.store.close();
    assert.throws(() => StateStore.open({ path: machine.store.path }), /has schema version 99, expected 4/);
    rmSync(machine.store.path, { recursive: true });
    machine = openMachine(machine.folder);
  });

  it("after the machine stopped in the middle starts empty and says so", async () => {
    const folder = temporaryFolder();
    const first = openMachine(folder, { bootId: "boot-1" });
    first.apply(registration(makeJob()));
    const note = join(first.store.path, "state.json");
    await first.store.close();
    const same = openMachine(folder, { bootId: "boot-2" });
    assert.deepEqual(
      [same.store.needsRebuild, same.store.index()],
      [false, 1],
      "closed in order: another boot is fine",
    );
    await same.store.close();
    writeFileSync(note, JSON.stringify({ boot_id: "boot-2", clean: false }));
    const crashed = openMachine(folder, { bootId: "boot-2" });
    assert.deepEqual(
      [crashed.store.needsRebuild, crashed.store.index()],
      [false, 1],
      "only the process died",
    );
    await crashed.store.close();
    for (const damage of [JSON.stringify({ boot_id: "boot-2", clean: false }), "{", undefined]) {
      if (damage === undefined) rmSync(note);
      else writeFileSync(note, damage);
      const rebooted = openMachine(folder, { bootId: "boot-3" });
      assert.deepEqual([rebooted.store.needsRebuild, rebooted.store.index()], [true, 0], `note: ${damage}`);
      rebooted.apply(registration(makeJob()));
      await rebooted.store.close();
    }
    assert.ok(existsSync(note));
    rmSync(folder, { recursive: true });
  });

  it("explains errors of the storage", () => {
    assert.match(
      storageError(new Error("write: No space left on device"), "/data").message,
      /^state at \/data: the disk is full/,
    );
    assert.match(
      storageError(new Error("MDB_MAP_FULL: Environment mapsize limit reached"), "/data").message,
      /outgrew its memory map/,
    );
    const broken = storageError(new Error("Input/output error"), machine.store.path);
    assert.match(broken.message, /the disk failed/);
    const other = new Error("other");
    assert.equal(storageError(other, "/data"), other);
  });
});

describe("a worker thread", () => {
  it("sees each commit and the columns that go with it", async () => {
    const worker = new Worker(new URL("./reader-thread.js", import.meta.url), {
      workerData: { path: machine.store.path, columns: machine.store.columns },
    });
    try {
      await once(worker, "online");
      machine.apply(registration(makeJob()));
      for (let i = 1; i <= 50; i += 1) {
        const node = makeNode({ Meta: { rack: `rack-${i}` } });
        const allocation = makeAllocation({ NodeID: node.ID });
        machine.apply(nodeRegistration(node), plan({ Placed: [allocation] }));
        const answer = once(worker, "message");
        worker.postMessage({ nodeId: node.ID });
        assert.deepEqual((await answer)[0], {
          index: machine.store.index(),
          allocations: [allocation.ID],
          job: "running",
          cpuUsed: 100,
          rack: `rack-${i}`,
        });
      }
      const exit = once(worker, "exit");
      worker.postMessage("close");
      await exit;
    } finally {
      await worker.terminate();
    }
  });
});
