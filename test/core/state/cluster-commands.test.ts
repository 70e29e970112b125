import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import { DEFAULT_AUTOPILOT_SETTINGS, StateTable } from "@drover/plugin-sdk";
import { type Command, CommandType } from "../../../core/state/index.js";
import { type Machine, openMachine, TIME } from "./support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

const configuration = (MinQuorum: number, ModifyIndex?: number): Command => ({
  type: CommandType.AutopilotConfigUpdate,
  payload: {
    Config: { ...DEFAULT_AUTOPILOT_SETTINGS, MinQuorum, CreateIndex: 0, ModifyIndex: 0 },
    ...(ModifyIndex === undefined ? {} : { ModifyIndex }),
  },
});

const named = (ClusterID: string): Command => ({
  type: CommandType.ClusterMetadataInit,
  payload: { Metadata: { ClusterID, CreateTime: TIME } },
});

function read() {
  using snapshot = machine.store.snapshot();
  return { autopilot: snapshot.autopilotConfiguration(), cluster: snapshot.clusterMetadata() };
}

test("autopilot's configuration has its defaults until it is written, and changes at the index that is asked for", () => {
  assert.deepEqual(read().autopilot, { ...DEFAULT_AUTOPILOT_SETTINGS, CreateIndex: 0, ModifyIndex: 0 });
  assert.equal(machine.apply(configuration(3, 5))[0], false);
  assert.equal(machine.apply(configuration(3, 0))[0], true);
  const first = read().autopilot;
  assert.deepEqual([first.MinQuorum, first.CreateIndex], [3, first.ModifyIndex]);
  assert.equal(machine.apply(configuration(5, first.ModifyIndex + 1))[0], false);
  assert.equal(machine.apply(configuration(5))[0], true);
  const second = read().autopilot;
  assert.deepEqual([second.MinQuorum, second.CreateIndex], [5, first.CreateIndex]);
  assert.ok(second.ModifyIndex > first.ModifyIndex);
  using snapshot = machine.store.snapshot();
  assert.equal(snapshot.tableIndex(StateTable.AutopilotConfig), second.ModifyIndex);
});

test("a cluster is named once; who comes second is told the name", async () => {
  assert.equal(read().cluster, null);
  const first = randomUUID();
  assert.deepEqual(machine.apply(named(first))[0], { ClusterID: first, CreateTime: TIME });
  assert.deepEqual(machine.apply(named(randomUUID()))[0], { ClusterID: first, CreateTime: TIME });
  assert.equal(read().cluster?.ClusterID, first);
  machine = await machine.reopen();
  assert.equal(read().cluster?.ClusterID, first);
});
