/** The proofs with real processes in short form; faults.long.test.ts goes on for long. */
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import type { FaultName } from "./faults.js";
import { namespacesMissing } from "./namespaces.js";
import { prove } from "./proof.js";
import { proveInNamespaces } from "./separate.js";

const seedOf = (t: TestContext): number => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.diagnostic(`seed ${seed}`);
  return seed;
};

it("loses no acknowledged write and reads nothing old when servers are killed and paused", async (t) => {
  const faults: readonly FaultName[] = ["kill-leader", "pause-leader", "kill-all"];
  const say = (line: string): void => t.diagnostic(line);
  await prove({ faults, seed: seedOf(t), inNamespaces: false, say });
});

it("loses no acknowledged write and reads nothing old when the network parts the servers", async (t) => {
  const missing = namespacesMissing();
  if (missing !== undefined) {
    t.skip(missing);
    return;
  }
  const said = await proveInNamespaces(t, seedOf(t), ["isolate-leader", "mute-leader"]);
  assert.match(said, /the leader s\d cut off: serves again/);
});
