/** Whatever a snapshot of a thread reads it reads within the fence: also what is added later. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openEnvironment } from "../../../core/state/read/environment.js";
import { LmdbSnapshot, ThreadFence } from "../../../core/state/read/index.js";
import { RowReader } from "../../../core/state/read/row-reader.js";
import { openTables } from "../../../core/state/read/schema.js";
import {
  evaluations,
  makeAllocation,
  makeDeployment,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
} from "./support.js";

class WatchedFence extends ThreadFence {
  isInside = false;

  override within<T>(work: () => T): T {
    assert.ok(!this.isInside, "the fence is nested");
    return super.within(() => {
      this.isInside = true;
      try {
        return work();
      } finally {
        this.isInside = false;
      }
    });
  }
}

test("every method of a snapshot reads within the fence", async (t) => {
  const machine = openMachine();
  t.after(() => machine.close());
  const allocation = makeAllocation({ JobID: "web" });
  machine.apply(
    nodeRegistration(makeNode({ ID: allocation.NodeID })),
    registration(makeJob({ ID: "web" })),
    evaluations(makeEvaluation({ JobID: "web" })),
    plan({ Placed: [allocation], Deployment: makeDeployment() }),
  );
  const env = openEnvironment({ path: machine.store.path, readOnly: true, durable: false });
  const fence = new WatchedFence();
  let calls = 0;
  /** Refuses to be used outside of the fence. */
  const watched = <T extends object>(what: T): T =>
    new Proxy(what, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...given: unknown[]): unknown => {
          assert.ok(fence.isInside, `${String(name)} outside of the fence`);
          calls++;
          return Reflect.apply(value, target, given);
        };
      },
    });
  const { blocks, fence: _, ...databases } = openTables(env);
  const tables = Object.fromEntries(
    Object.entries(databases).map(([name, table]) => [name, watched(table as object)]),
  );
  const snapshot = LmdbSnapshot.take(watched(env), { ...tables, blocks, fence } as never);
  const methods = Object.getOwnPropertyNames(RowReader.prototype).filter(
    (name) => !["constructor", "within", "check"].includes(name),
  );
  assert.ok(methods.length > 30);
  // What the methods of each number of parameters are given: names that are there, where they name something.
  for (const given of [[], ["default", "web", 0], [allocation.ID], [allocation.NodeID], [allocation]]) {
    for (const name of methods) {
      try {
        const found = (snapshot as unknown as Record<string, (...all: unknown[]) => unknown>)[name]!(
          ...given,
        );
        if (typeof found === "object" && found !== null && Symbol.iterator in found) void [...(found as [])];
      } catch (error) {
        // Arguments of the wrong kind are refused before anything is read; only reads outside matter here.
        assert.ok(!(error instanceof assert.AssertionError), `${name}: ${String(error)}`);
      }
    }
  }
  assert.ok(calls > 100, `only ${calls} reads`);
  snapshot.close();
  await env.close();
});
