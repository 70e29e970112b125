import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isUUID } from "@drover/plugin-sdk";
import { PlanIds } from "@drover/plugin-sdk/scheduling";

const idsOf = (count: number, ...seeds: string[]): string[] => {
  const ids = new PlanIds(...seeds);
  return Array.from({ length: count }, () => ids.next());
};

describe("ids of a plan", () => {
  it("are UUIDs, the same for the same seeds and others for other seeds", () => {
    const first = idsOf(100, "evaluation", "1");
    assert.ok(first.every(isUUID));
    assert.deepEqual(idsOf(100, "evaluation", "1"), first);
    assert.deepEqual(
      idsOf(100, "evaluation", "2").filter((id) => first.includes(id)),
      [],
    );
  });

  it("differ in their first eight digits and share the first four, so that they lie together", () => {
    const ids = idsOf(20_000, "evaluation", "1");
    assert.equal(new Set(ids.map((id) => id.slice(0, 8))).size, ids.length);
    assert.equal(new Set(ids.map((id) => id.slice(0, 4))).size, 1);
  });

  it("stay different beyond 65,536 in one plan", () => {
    assert.equal(new Set(idsOf(70_000, "evaluation", "1").map((id) => id.slice(0, 8))).size, 70_000);
  });
});
