import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { quietLogger } from "@drover/plugin-sdk/testing";
import { AtomicFile } from "../../../plugins/client-agent/state/atomic-file.js";
import { loadIdentity } from "../../../plugins/client-agent/state/identity.js";
import { AllocationStore } from "../../../plugins/client-agent/state/store.js";
import { makeAllocation, shellTask, until } from "./fixtures.js";
import { temporaryFolder } from "./harness.js";

test("writes of one moment end with the newest, and the file is private", async () => {
  const path = join(temporaryFolder(), "file");
  const file = new AtomicFile(path, { failed: assert.fail, recovered: assert.fail });
  await Promise.all(Array.from({ length: 50 }, (_, index) => file.save(String(index))));
  assert.equal(readFileSync(path, "utf8"), "49");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await file.remove();
  await file.save("too late");
  assert.ok(!existsSync(path));
});

test("a write that fails is told once, does not hold anybody up, and is made good", async () => {
  const folder = join(temporaryFolder(), "away");
  const told: string[] = [];
  const file = new AtomicFile(join(folder, "file"), {
    failed: () => told.push("failed"),
    recovered: () => told.push("recovered"),
  });
  await file.save("1");
  await file.save("2");
  assert.deepEqual(told, ["failed"]);
  mkdirSync(folder);
  await until("written after all", () => told.includes("recovered"));
  assert.equal(readFileSync(join(folder, "file"), "utf8"), "2");
  file.close();
});

test("a file of the state that can't be read is set aside, and the others are loaded", async () => {
  const stateDir = temporaryFolder();
  const store = await AllocationStore.open(stateDir, quietLogger);
  const [good, bad] = [makeAllocation([shellTask("a", "true")]), makeAllocation([shellTask("a", "true")])];
  await store.saveAllocation(good);
  await store.saveAllocation(bad);
  const path = join(stateDir, "allocations", `${bad.ID}.assigned.json`);
  writeFileSync(path, '{"version":1,"cont');
  const loaded = await (await AllocationStore.open(stateDir, quietLogger)).load();
  assert.deepEqual(
    loaded.map(({ allocation }) => allocation.ID),
    [good.ID],
  );
  assert.ok(existsSync(`${path}.unreadable`));
});

test("a node's id stays, and a broken file is an error and not a new node", async () => {
  const stateDir = temporaryFolder();
  const first = await loadIdentity(stateDir);
  assert.deepEqual(await loadIdentity(stateDir), first);
  chmodSync(join(stateDir, "client-id"), 0o600);
  writeFileSync(join(stateDir, "client-id"), "rubbish");
  await assert.rejects(loadIdentity(stateDir), /client-id does not hold a UUID/);
  rmSync(join(stateDir, "client-id"));
  assert.notEqual((await loadIdentity(stateDir)).id, first.id);
});
