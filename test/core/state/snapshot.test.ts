import assert from "node:assert/strict";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { StateTable } from "@drover/plugin-sdk";
import { CommandType } from "../../../core/state/index.js";
import { SharedNodeColumns } from "../../../core/state/read/index.js";
import { LAYOUTS, SCHEMA_VERSION } from "../../../core/state/read/schema.js";
import { checkSnapshot } from "../../../core/state/snapshot-folder.js";
import {
  type Machine,
  makeAllocation,
  makeDeployment,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  TIME,
} from "./support.js";

let machine: Machine;
let other: Machine;
beforeEach(() => {
  machine = openMachine();
  other = openMachine();
});
afterEach(async () => {
  await machine.close();
  await other.close();
});

/** Everything that is stored, table by table. */
function contents(from: Machine): Record<string, unknown[]> {
  from.store.env.resetReadTxn();
  return Object.fromEntries(
    Object.keys(LAYOUTS).map((table) => {
      const database = from.store.tables[table as keyof typeof LAYOUTS];
      return [table, [...database.getRange({ start: Buffer.from([0]) as never })]];
    }),
  );
}

/** Names of the environments in the state's folder; "" for the first one. */
function environments(of: Machine): string[] {
  return readdirSync(of.store.path)
    .filter((name) => name === "data.mdb" || name.startsWith("environment-"))
    .map((name) => (name === "data.mdb" ? "" : name));
}

const node = makeNode();
function fill(target: Machine): void {
  const deployment = makeDeployment();
  const evaluation = makeEvaluation();
  target.apply(
    nodeRegistration(node),
    registration(makeJob(), evaluation),
    registration(makeJob({ Type: "system", ID: "sys", ParentID: "web" })),
    plan({
      EvalID: evaluation.ID,
      Deployment: deployment,
      Placed: [makeAllocation({ NodeID: node.ID, DeploymentID: deployment.ID })],
    }),
    { type: CommandType.JoinTokenIssue, payload: { Hash: "ab".repeat(32), Expires: TIME * 2, Time: TIME } },
    {
      type: CommandType.NodeEnroll,
      payload: { NodeID: node.ID, PublicKey: "a2V5", TokenHash: "ab".repeat(32), Time: TIME },
    },
    { type: CommandType.PluginRowPut, payload: { Plugin: "p", Table: "t", Key: "k", Value: { v: 1 } } },
  );
}

describe("a snapshot folder", () => {
  it("restored elsewhere gives the same rows, indexes, keys and columns", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    assert.equal(await machine.fsm.snapshot(folder), 7);
    const expected = contents(machine);
    machine.apply(registration(makeJob({ ID: "after" })));

    other.apply(nodeRegistration(makeNode()), registration(makeJob({ ID: "replaced" })));
    const before = other.store.snapshot();
    const told: unknown[] = [];
    other.store.onApplied((index, tables) => told.push([index, tables.size]));
    await other.fsm.restore(folder);
    assert.deepEqual(contents(other), expected);
    assert.equal(other.fsm.lastApplied(), 7);
    assert.deepEqual(other.store.nodeKey(node.ID), new Uint8Array(Buffer.from("key")));
    assert.notEqual(other.store.joinToken("ab".repeat(32))?.UsedBy, null);
    assert.deepEqual(told, [[7, Object.keys(StateTable).length]]);
    assert.equal(before.job("default", "replaced")?.ID, "replaced", "an older snapshot stays as it was");
    const columns = new SharedNodeColumns(other.store.columns);
    assert.deepEqual(
      [columns.cpuUsed[columns.row(node.ID)!], columns.cpuTotal[columns.row(node.ID)!]],
      [100, 3_900],
    );
    other.apply(registration(makeJob({ ID: "goes-on" })));
    assert.equal(other.fsm.lastApplied(), 8);
    other = await other.reopen();
    assert.equal(other.fsm.lastApplied(), 8);
  });

  it("restored is what threads see next, and what they have open stays as it was", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    other.apply(registration(makeJob({ ID: "replaced" })));
    const thread = new Worker(new URL("./reader-thread.js", import.meta.url), {
      workerData: { path: other.store.path, columns: other.store.columns },
    });
    const asked = async (request: object): Promise<Record<string, unknown>> => {
      thread.postMessage(request);
      return ((await once(thread, "message")) as [Record<string, unknown>])[0];
    };
    try {
      assert.equal((await asked({ nodeId: node.ID, hold: true })).index, 1);
      for (const restored of [41, 57, 63]) {
        await other.fsm.restore(folder, restored);
        const seen = await asked({ nodeId: node.ID });
        assert.deepEqual([seen.index, seen.job, seen.cpuUsed], [restored, "running", 100]);
        assert.deepEqual(seen.held, { index: 1, jobs: ["replaced"] });
        other.apply(registration(makeJob({ ID: `after-${restored}` })));
        assert.equal((await asked({ nodeId: node.ID })).index, restored + 1);
      }
    } finally {
      const ended = once(thread, "exit");
      thread.postMessage("close");
      await ended;
    }
    assert.deepEqual(environments(other), ["environment-3"], "those that were left are gone");
  });

  it("may be taken while another takes the place of the state", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    other.apply(registration(makeJob({ ID: "mine" })));
    const taken = other.fsm.snapshot(join(other.folder, "taken"));
    await other.fsm.restore(folder);
    assert.equal(await taken, 1);
    await other.fsm.restore(join(other.folder, "taken"), 99);
    using snapshot = other.store.snapshot();
    assert.deepEqual(
      [...snapshot.jobs()].map((job) => job.ID),
      ["mine"],
    );
    assert.equal(other.store.view().left(), false, "a copy of a state that was left is in force");
  });

  it("is in force after a crash once the note names it, and before that the state is as it was", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    const expected = contents(machine);
    other.apply(registration(makeJob({ ID: "mine" })));
    const { path } = other.store;
    const note = join(path, "state.json");
    const before = join(other.folder, "before");
    cpSync(path, before, { recursive: true });
    await other.fsm.restore(folder);
    const after = join(other.folder, "after");
    cpSync(path, after, { recursive: true });
    await other.store.close();

    const states = (from: string, also: string | undefined, named: string): Machine => {
      rmSync(path, { recursive: true, force: true });
      cpSync(from, path, { recursive: true });
      if (also !== undefined) cpSync(also, path, { recursive: true });
      writeFileSync(note, readFileSync(join(named, "state.json")));
      return openMachine(other.folder);
    };
    // Copied, and not yet named.
    other = states(before, after, before);
    assert.deepEqual([other.fsm.lastApplied(), environments(other)], [1, [""]]);
    await other.store.close();
    // Cut off while it was copied.
    other = states(before, undefined, before);
    await other.store.close();
    mkdirSync(join(path, "environment-1"));
    writeFileSync(join(path, "environment-1", "data.mdb"), "cut off");
    other = openMachine(other.folder);
    assert.deepEqual([other.fsm.lastApplied(), environments(other)], [1, [""]]);
    await other.fsm.restore(folder);
    assert.deepEqual(contents(other), expected);
    await other.store.close();
    // Named, and what was there before not yet removed.
    other = states(after, before, after);
    assert.deepEqual(contents(other), expected);
    assert.deepEqual(environments(other), ["environment-1"]);
    // Named, and gone: consensus brings the state back.
    await other.store.close();
    rmSync(join(path, "environment-1"), { recursive: true });
    other = openMachine(other.folder);
    assert.deepEqual([other.store.needsRebuild, other.fsm.lastApplied()], [true, 0]);
  });

  it("put in force at another position of the log counts as changed there, all of it", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    const waiting = other.store.waitForChange([StateTable.Jobs], 40, AbortSignal.timeout(10_000));
    await other.fsm.restore(folder, 41);
    await waiting;
    assert.equal(other.fsm.lastApplied(), 41);
    using snapshot = other.store.snapshot();
    assert.equal(snapshot.index, 41);
    assert.equal(
      snapshot.job("default", "web")?.ModifyIndex,
      machine.store.snapshot().job("default", "web")?.ModifyIndex,
    );
    assert.equal(machine.store.restoredIndex(), 0);
    assert.equal(other.store.restoredIndex(), 41);
    for (const table of Object.values(StateTable)) assert.equal(snapshot.tableIndex(table), 41, table);
    other.apply(registration(makeJob({ ID: "next" })));
    other = await other.reopen();
    assert.equal(other.fsm.lastApplied(), 42);
    await assert.rejects(other.fsm.restore(folder, 6), /taken at index 7 and can't be put in force at 6/);
    assert.equal(other.fsm.lastApplied(), 42);
  });

  it("is described with what its tables hold", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    const { tables, ...rest } = await checkSnapshot(folder, "global");
    assert.deepEqual(rest, { region: "global", schema: SCHEMA_VERSION, index: 7 });
    assert.deepEqual(
      tables
        .filter(({ name }) => ["jobs", "allocs", "nodes"].includes(name))
        .map(({ name, rows }) => [name, rows]),
      [
        ["jobs", 2],
        ["nodes", 1],
        ["allocs", 1],
      ],
    );
    assert.ok(tables.every(({ rows, bytes }) => bytes % 4096 === 0 && bytes > 0 === rows > 0));
    await assert.rejects(checkSnapshot(folder, "mars"), /region is "global", expected "mars"/);
  });

  it("that is damaged or of another region is refused and changes nothing", async () => {
    fill(machine);
    const folder = join(machine.folder, "snapshot");
    await machine.fsm.snapshot(folder);
    other.apply(registration(makeJob({ ID: "mine" })));
    const manifest = join(folder, "manifest.json");
    const good = readFileSync(manifest, "utf8");
    assert.equal(statSync(manifest).mode & 0o777, 0o600);
    const attempts: [damage: () => void, expected: RegExp][] = [
      [() => writeFileSync(manifest, "{"), /not a readable manifest/],
      [
        () => writeFileSync(manifest, good.replace('"format": 1', '"format": 7')),
        /snapshot format is 7, expected 1/,
      ],
      [() => writeFileSync(manifest, good.replace("global", "mars")), /region is "mars", expected "global"/],
      [
        () => writeFileSync(manifest, good.replace(/"schema": \d+/, `"schema": ${SCHEMA_VERSION + 1}`)),
        new RegExp(`schema version is ${SCHEMA_VERSION + 1}, expected ${SCHEMA_VERSION}`),
      ],
      [
        () => {
          writeFileSync(manifest, good);
          const data = join(folder, "data.mdb");
          truncateSync(data, statSync(data).size - 1);
        },
        /size of the copy is \d+, expected \d+/,
      ],
    ];
    for (const [damage, expected] of attempts) {
      damage();
      await assert.rejects(other.fsm.verify(folder), expected);
      await assert.rejects(other.fsm.restore(folder), expected);
    }
    assert.equal(other.fsm.lastApplied(), 1);
    const snapshot = other.store.snapshot();
    assert.deepEqual(
      [...snapshot.jobs()].map((job) => job.ID),
      ["mine"],
    );
  });
});
