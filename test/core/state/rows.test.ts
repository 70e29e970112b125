import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";
import { open } from "lmdb";
import { decodeId, encodeId } from "../../../core/state/read/keys.js";
import { createRowEncoders } from "../../../core/state/read/rows.js";
import { makeAllocation, makeEvaluation, makeNode, temporaryFolder } from "./support.js";

describe("rows", () => {
  const { plain, allocation, evaluation } = createRowEncoders();

  it("come back as they were, with exactly the fields that were given", () => {
    const alloc = makeAllocation({
      FollowupEvalID: "x",
      JobCreateIndex: 7,
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    assert.deepEqual(allocation.decode(allocation.encode(alloc)), alloc);
    const bare = makeAllocation();
    assert.deepEqual(allocation.decode(allocation.encode(bare)), bare);
  });

  it("of any content come back as they were (property)", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const clean = JSON.parse(
          JSON.stringify(value)
            .replaceAll("__proto__", "proto")
            .replaceAll(/-0(?=[,\]}]|$)/g, "0"),
        ) as unknown;
        assert.deepEqual(plain.decode(plain.encode(clean)), clean);
      }),
    );
  });

  it("name no field of the shapes they know", () => {
    const bytes = allocation.encode(makeAllocation()).toString("latin1");
    assert.ok(!bytes.includes("AllocModifyIndex") && !bytes.includes("CpuShares"));
    assert.ok(bytes.length < 320, `${bytes.length} bytes`);
    const evalBytes = evaluation.encode(makeEvaluation()).toString("latin1");
    assert.ok(!evalBytes.includes("TriggeredBy"));
    assert.deepEqual(plain.decode(plain.encode(makeNode({ ID: "n" }))), makeNode({ ID: "n" }));
  });
});

describe("ids", () => {
  it("that are UUIDs take 16 bytes and any other comes back too (property)", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uuid(), fc.string({ minLength: 1 }), fc.string({ minLength: 14, maxLength: 18 })),
        (id) => {
          if (id.includes("\0")) return;
          assert.equal(decodeId(encodeId(id)), id);
        },
      ),
    );
    assert.equal(encodeId("c1fe0aab-ae22-a84f-64cf-0a0a63ac126a").length, 16);
    assert.equal(
      decodeId(encodeId("C1FE0AAB-ae22-a84f-64cf-0a0a63ac126a")),
      "C1FE0AAB-ae22-a84f-64cf-0a0a63ac126a",
    );
  });
});

describe("why shapes are part of the code", () => {
  it("shapes that lmdb learned in a transaction that aborts break rows written after it", async () => {
    const folder = temporaryFolder();
    const env = open({ path: folder, noSubdir: false, noSync: true, overlappingSync: false });
    const table = env.openDB<object, string>({ name: "t", sharedStructuresKey: Symbol.for("structures") });
    assert.throws(() =>
      env.transactionSync(() => {
        table.putSync("a", { first: 1, second: 2 });
        throw new Error("abort");
      }),
    );
    env.transactionSync(() => table.putSync("b", { first: 3, second: 4 }));
    await env.close();
    const again = open({ path: folder, noSubdir: false, noSync: true, overlappingSync: false });
    const reader = again.openDB<object, string>({ name: "t", sharedStructuresKey: Symbol.for("structures") });
    let seen: unknown;
    try {
      seen = reader.get("b");
    } catch (error) {
      seen = error;
    }
    assert.notDeepEqual(seen, { first: 3, second: 4 });
    await again.close();
    rmSync(folder, { recursive: true });
  });
});
