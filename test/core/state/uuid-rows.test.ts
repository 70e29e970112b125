import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { encodeId } from "../../../core/state/read/keys.js";
import { UuidRows } from "../../../core/state/read/uuid-rows.js";

/** Few ids, so that they come and go again; alike, so that they meet in the table. */
const id = fc.oneof(
  fc.nat({ max: 2_000 }).map((n) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`),
  fc.uuid(),
);

describe("rows by UUID", () => {
  it("are those of a map, whatever came and went", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(id, fc.option(fc.nat({ max: 100_000 }))), { maxLength: 5_000 }),
        (changes) => {
          const rows = new UuidRows();
          const model = new Map<string, number>();
          for (const [uuid, row] of changes) {
            if (row === null) {
              model.delete(uuid);
              rows.delete(encodeId(uuid));
            } else {
              model.set(uuid, row);
              rows.set(encodeId(uuid), row);
            }
          }
          for (const [uuid] of changes) assert.equal(rows.get(encodeId(uuid)), model.get(uuid));
        },
      ),
      { numRuns: 50 },
    );
  });

  it("are found in the middle of other bytes, and grow", () => {
    const rows = new UuidRows();
    const ids = Array.from({ length: 10_000 }, (_, n) =>
      encodeId(`${n.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`),
    );
    for (const [row, bytes] of ids.entries()) rows.set(bytes, row);
    const all = Buffer.concat(ids);
    for (let row = 0; row < ids.length; row++) assert.equal(rows.get(all, row * 16), row);
    assert.equal(rows.get(encodeId("ffffffff-0000-4000-8000-000000000000")), undefined);
  });
});
