import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RestartTracker } from "../../../plugins/client-agent/task/restart-tracker.js";

const policies = fc.record({
  Attempts: fc.integer({ min: 0, max: 6 }),
  Delay: fc.integer({ min: 0, max: 100e9 }),
  Interval: fc.integer({ min: 1e9, max: 1000e9 }),
  Mode: fc.constantFrom("fail" as const, "delay" as const),
});
/** A failure and how long after the one before it came, nanoseconds. */
const gaps = fc.array(fc.integer({ min: 0, max: 400e9 }), { minLength: 1, maxLength: 40 });

test("in any history, an interval holds no more restarts than the policy allows, and the mode decides what follows", () => {
  fc.assert(
    fc.property(policies, gaps, fc.double({ min: 0, max: 1, noNaN: true }), (policy, history, random) => {
      let now = 0;
      const tracker = new RestartTracker(
        policy,
        true,
        () => now,
        () => random,
      );
      let windowStart: number | undefined;
      let inWindow = 0;
      for (const gap of history) {
        now += gap;
        const decision = tracker.decide({ kind: "exit", success: false });
        if (policy.Attempts === 0 && policy.Mode === "fail") {
          assert.deepEqual(decision, { action: "fail", reason: "Policy allows no restarts" });
          return;
        }
        if (windowStart === undefined || now - windowStart > policy.Interval) {
          windowStart = now;
          inWindow = 0;
        }
        inWindow += 1;
        if (inWindow <= policy.Attempts) {
          assert.equal(decision.action, "restart");
          if (decision.action !== "restart") return;
          assert.equal(decision.reason, "Restart within policy");
          assert.ok(decision.delay >= policy.Delay - 1 && decision.delay <= policy.Delay * 1.25 + 1);
        } else if (policy.Mode === "fail") {
          assert.equal(decision.action, "fail");
          return;
        } else {
          assert.equal(decision.action, "restart");
          if (decision.action !== "restart") return;
          assert.equal(decision.reason, "Exceeded allowed attempts, applying a delay");
          assert.ok(
            now + decision.delay >= windowStart + policy.Interval - 1,
            "waits for the end of the interval",
          );
          assert.ok(decision.delay >= policy.Delay - 1);
        }
      }
    }),
  );
});

test("an operator's restart is never counted, and a batch task that succeeded never restarts", () => {
  fc.assert(
    fc.property(policies, fc.integer({ min: 1, max: 20 }), (policy, count) => {
      const service = new RestartTracker(policy, true, () => 0);
      for (let i = 0; i < count; i += 1) {
        assert.deepEqual(service.decide({ kind: "restart_requested" }), {
          action: "restart",
          delay: 0,
          reason: "",
        });
      }
      const first = service.decide({ kind: "exit", success: false });
      assert.equal(first.action === "restart", policy.Attempts > 0 || policy.Mode === "delay");
      const batch = new RestartTracker(policy, false, () => 0);
      assert.deepEqual(batch.decide({ kind: "exit", success: true }), { action: "complete" });
    }),
  );
});
