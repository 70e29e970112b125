import assert from "node:assert/strict";
import { test } from "node:test";
import type { Evaluation } from "@drover/plugin-sdk";
import fc from "fast-check";
import { BlockedEvals } from "../../../../core/server/evaluations/blocked-evals.js";

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

function tracker(remembered?: number): { blocked: BlockedEvals; woken: string[] } {
  const woken: string[] = [];
  const blocked = new BlockedEvals(
    (evaluation) => woken.push(evaluation.ID),
    () => {},
    remembered,
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
  blocked.unblock("n1", "a", 20);
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
  assert.deepEqual(
    blocked.untrack("default", "web").map((each) => each.ID),
    [young.ID],
  );
});

test("a job that was stopped is forgotten", () => {
  const { blocked, woken } = tracker();
  blocked.block(blockedEvaluation({ JobID: "web" }));
  blocked.untrack("default", "web");
  blocked.unblock("n1", "a", 20);
  assert.deepEqual(woken, []);
});

test("an evaluation of a node waits for that node alone, and there is one for each node of a job", () => {
  const { blocked, woken } = tracker();
  const [one, two] = ["n1", "n2"].map((NodeID) =>
    blockedEvaluation({ JobID: "logs", Type: "system", NodeID }),
  );
  blocked.block(one!);
  blocked.block(two!);
  assert.equal(blocked.stats().blocked, 2);
  blocked.unblock("n3", "a", 20);
  assert.deepEqual(woken, []);
  blocked.unblock("n2", "a", 21);
  assert.deepEqual(woken, [two!.ID]);
  const again = blockedEvaluation({ JobID: "logs", Type: "system", NodeID: "n1", SnapshotIndex: 30 });
  blocked.block(again);
  assert.deepEqual(
    blocked.takeDuplicates().map((each) => each.ID),
    [one!.ID],
  );
});

test("what waited for one node of a job is forgotten with that node, or with the job", () => {
  const { blocked } = tracker();
  const of = (JobID: string, NodeID: string) => blockedEvaluation({ JobID, NodeID, Type: "system" });
  const [a1, a2, b1] = [of("a", "n1"), of("a", "n2"), of("b", "n1")];
  for (const each of [a1, a2, b1]) blocked.block(each);
  const ids = (evaluations: readonly Evaluation[]) => evaluations.map((each) => each.ID);
  assert.deepEqual(ids(blocked.untrack("default", "a", "n2")), [a2.ID]);
  assert.deepEqual(ids(blocked.untrackNode("n1")).sort(), [a1.ID, b1.ID].sort());
  assert.deepEqual(blocked.stats(), { blocked: 0, escaped: 0, quota: 0 });
});

test("an evaluation that reached a quota waits for that quota, not for capacity", () => {
  const { blocked, woken } = tracker();
  const limited = blockedEvaluation({ QuotaLimitReached: "team", ClassEligibility: { a: true } });
  const other = blockedEvaluation({ QuotaLimitReached: "others" });
  blocked.block(limited);
  blocked.block(other);
  assert.equal(blocked.stats().quota, 2);
  blocked.unblock("n1", "a", 20);
  assert.deepEqual(woken, []);
  blocked.unblockQuota("team", 21);
  assert.deepEqual(woken, [limited.ID]);
  blocked.block(blockedEvaluation({ ID: "late", QuotaLimitReached: "team", SnapshotIndex: 20 }));
  assert.deepEqual(woken, [limited.ID, "late"]);
});

test("those whose plans were refused too often are woken without any change", () => {
  const { blocked, woken } = tracker();
  const refused = blockedEvaluation({ TriggeredBy: "max-plan-attempts", ClassEligibility: { a: false } });
  blocked.block(refused);
  blocked.block(blockedEvaluation());
  blocked.unblockFailed();
  assert.deepEqual(woken, [refused.ID]);
});

test("an evaluation that was under way when everything was woken is woken too", () => {
  const { blocked, woken } = tracker();
  blocked.unblockAll(20);
  const under = blockedEvaluation({ SnapshotIndex: 19, ClassEligibility: { a: false } });
  blocked.block(under);
  assert.deepEqual(woken, [under.ID]);
  blocked.block(blockedEvaluation({ SnapshotIndex: 20 }));
  assert.equal(woken.length, 1);
});

interface Waiting {
  readonly evaluation: Evaluation;
  asleep: boolean;
}

test("no evaluation whose capacity came after its snapshot stays asleep", () => {
  const classes = fc.constantFrom("a", "b", "c", "d");
  const node = fc.constantFrom("n1", "n2", "n3", "n4", "n5", "n6");
  const step = fc.oneof(
    // A scheduler takes its snapshot; how many changes later its evaluation arrives is drawn.
    fc.record({
      kind: fc.constant("block" as const),
      job: fc.constantFrom("j1", "j2", "j3"),
      age: fc.nat(12),
      waitsFor: fc.oneof(
        fc.record({ NodeID: node }),
        fc.record({ QuotaLimitReached: fc.constantFrom("q1", "q2") }),
        fc.record({ ClassEligibility: fc.dictionary(classes, fc.boolean()) }),
        fc.record({
          ClassEligibility: fc.dictionary(classes, fc.constant(false)),
          EscapedComputedClass: fc.constant(true),
        }),
      ),
    }),
    // Nodes change their class as they please.
    fc.record({ kind: fc.constant("capacity" as const), node, class: classes }),
    fc.record({ kind: fc.constant("quota" as const), quota: fc.constantFrom("q1", "q2") }),
    fc.record({ kind: fc.constant("all" as const) }),
  );
  const concerned = (evaluation: Evaluation, change: { readonly [key: string]: unknown }): boolean => {
    if (change.kind === "all") return true;
    if (evaluation.QuotaLimitReached) return change.quota === evaluation.QuotaLimitReached;
    if (change.kind !== "capacity") return false;
    if (evaluation.NodeID) return change.node === evaluation.NodeID;
    return (
      evaluation.EscapedComputedClass === true ||
      evaluation.ClassEligibility?.[change.class as string] !== false
    );
  };
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.constantFrom(2, 3, 8_192),
      (steps, remembered) => {
        const waiting = new Map<string, Waiting>();
        const blocked = new BlockedEvals(
          (evaluation) => {
            waiting.get(evaluation.ID)!.asleep = false;
          },
          () => {},
          remembered,
        );
        blocked.setEnabled(true);
        const changes: { readonly index: number; readonly [key: string]: unknown }[] = [];
        let index = 100;
        for (const each of steps) {
          index++;
          if (each.kind === "block") {
            const evaluation = blockedEvaluation({
              JobID: each.job,
              SnapshotIndex: Math.max(100, index - each.age),
              ...each.waitsFor,
            });
            waiting.set(evaluation.ID, { evaluation, asleep: true });
            blocked.block(evaluation);
          } else {
            changes.push({ ...each, index });
            if (each.kind === "capacity") blocked.unblock(each.node, each.class, index);
            else if (each.kind === "quota") blocked.unblockQuota(each.quota, index);
            else blocked.unblockAll(index);
          }
          // What a newer one of its job replaced sleeps no more: the newer one looks at the whole job.
          for (const duplicate of blocked.takeDuplicates()) waiting.delete(duplicate.ID);
        }
        let asleep = 0;
        for (const { evaluation, asleep: sleeps } of waiting.values()) {
          if (!sleeps) continue;
          asleep++;
          const missed = changes.find(
            (change) => change.index > evaluation.SnapshotIndex! && concerned(evaluation, change),
          );
          assert.equal(missed, undefined, `${JSON.stringify(evaluation)} slept through it`);
        }
        assert.equal(blocked.stats().blocked, asleep);
        // With everything remembered nobody is woken for nothing.
        if (remembered === 8_192) {
          const reasons = [...waiting.values()].filter(({ evaluation, asleep: sleeps }) => {
            const cause = changes.some(
              (change) =>
                change.index > evaluation.SnapshotIndex! &&
                (change.kind === "all" || concerned(evaluation, change)),
            );
            return !sleeps && !cause;
          });
          assert.deepEqual(reasons, []);
        }
      },
    ),
  );
});
