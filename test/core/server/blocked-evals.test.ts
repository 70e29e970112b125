import assert from "node:assert/strict";
import { test } from "node:test";
import type { Evaluation } from "@drover/plugin-sdk";
import fc from "fast-check";
import { BlockedEvals } from "../../../core/server/evaluations/blocked-evals.js";

let serial = 0;
function blockedEvaluation(extra: Partial<Evaluation> = {}): Evaluation {
  serial++;
  return {
    ID: `eval-${serial}`,
    Namespace: "default",
    Priority: 50,
    Type: "service",
    TriggeredBy: "queued-allocs",
    JobID: `job-${serial}`,
    Status: "blocked",
    CreateIndex: serial,
    ModifyIndex: serial,
    CreateTime: 0,
    ModifyTime: 0,
    SnapshotIndex: 10,
    ClassEligibility: {},
    ...extra,
  };
}

function tracker(): { blocked: BlockedEvals; woken: string[] } {
  const woken: string[] = [];
  const blocked = new BlockedEvals(
    (evaluation) => woken.push(evaluation.ID),
    () => {},
  );
  blocked.setEnabled(true);
  return { blocked, woken };
}

test("capacity of a class wakes those it may help, and not those that said it can't", () => {
  const { blocked, woken } = tracker();
  const yes = blockedEvaluation({ ClassEligibility: { a: true } });
  const no = blockedEvaluation({ ClassEligibility: { a: false } });
  const unseen = blockedEvaluation({ ClassEligibility: { b: false } });
  const escaped = blockedEvaluation({ ClassEligibility: { a: false }, EscapedComputedClass: true });
  for (const each of [yes, no, unseen, escaped]) blocked.block(each);
  blocked.unblock("a", 20);
  assert.deepEqual(woken.sort(), [yes.ID, unseen.ID, escaped.ID].sort());
  assert.equal(blocked.stats().blocked, 1);
});

test("a newer blocked evaluation of a job replaces the older one, which is given out to be cancelled", () => {
  const { blocked } = tracker();
  const old = blockedEvaluation({ JobID: "web" });
  const young = blockedEvaluation({ JobID: "web" });
  blocked.block(young);
  blocked.block(old);
  assert.deepEqual(
    blocked.takeDuplicates().map((each) => each.ID),
    [old.ID],
  );
  assert.deepEqual(blocked.takeDuplicates(), []);
  assert.equal(blocked.untrack("default", "web")?.ID, young.ID);
});

test("a job that was stopped is forgotten", () => {
  const { blocked, woken } = tracker();
  blocked.block(blockedEvaluation({ JobID: "web" }));
  blocked.untrack("default", "web");
  blocked.unblock("a", 20);
  assert.deepEqual(woken, []);
});

test("a change between the scheduler's snapshot and the block is never missed", () => {
  const classes = fc.constantFrom("a", "b", "c");
  fc.assert(
    fc.property(
      fc.array(fc.record({ class: classes, index: fc.integer({ min: 1, max: 100 }) })),
      fc.integer({ min: 1, max: 100 }),
      fc.dictionary(classes, fc.boolean()),
      fc.boolean(),
      (changes, SnapshotIndex, ClassEligibility, EscapedComputedClass) => {
        const { blocked, woken } = tracker();
        const ordered = [...changes].sort((a, b) => a.index - b.index);
        for (const change of ordered) blocked.unblock(change.class, change.index);
        blocked.block(blockedEvaluation({ SnapshotIndex, ClassEligibility, EscapedComputedClass }));
        const concerned = ordered.some(
          (change) =>
            change.index > SnapshotIndex &&
            (EscapedComputedClass || ClassEligibility[change.class] !== false),
        );
        assert.equal(woken.length === 1, concerned);
      },
    ),
  );
});
