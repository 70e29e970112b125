import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Allocation, RescheduleEvent, ReschedulePolicy } from "@drover/plugin-sdk";
import { attemptsLeft, failedNodes, nextDelay, nextTracker } from "@drover/plugin-sdk/scheduling";
import { makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { again, cluster, failedAt, placements, running, service, stops, web, wish } from "./support.js";

const SECOND = 1e9;
const policy = (change: Partial<ReschedulePolicy> = {}): ReschedulePolicy => ({
  Attempts: 0,
  Delay: 30 * SECOND,
  DelayFunction: "constant",
  Interval: 0,
  MaxDelay: 3600 * SECOND,
  Unlimited: true,
  ...change,
});
const limited = (Attempts: number, change: Partial<ReschedulePolicy> = {}): ReschedulePolicy =>
  policy({ Unlimited: false, Attempts, Interval: 600 * SECOND, ...change });
const tracker = (...delays: number[]): { Events: RescheduleEvent[] } => ({
  Events: delays.map((delay, i) => ({
    Delay: delay * SECOND,
    PrevAllocID: `a${i}`,
    PrevNodeID: `n${i}`,
    RescheduleTime: i * SECOND,
  })),
});

/** Delays of `attempts` failures in a row, seconds; each runs as long as `runs` says before it fails. */
function delays(
  of: ReschedulePolicy,
  attempts: number,
  runs: (attempt: number) => number = () => 1,
): number[] {
  const found: number[] = [];
  let now = 1_000 * SECOND;
  let previous = { ID: "a", NodeID: "n", ModifyTime: now, TaskStates: null } as Allocation;
  for (let i = 0; i < attempts; i++) {
    const failed = now + runs(i) * SECOND;
    previous = { ...previous, ModifyTime: failed };
    const delay = nextDelay(of, previous.RescheduleTracker, failed);
    found.push(delay / SECOND);
    now = failed + delay;
    previous = { ...previous, RescheduleTracker: nextTracker(of, previous, now) };
  }
  return found;
}

describe("the delay of rescheduling", () => {
  it("stays the same, doubles, or grows like Fibonacci's numbers", () => {
    assert.deepEqual(delays(policy(), 4), [30, 30, 30, 30]);
    assert.deepEqual(delays(policy({ DelayFunction: "exponential" }), 5), [30, 60, 120, 240, 480]);
    assert.deepEqual(delays(policy({ DelayFunction: "fibonacci" }), 6), [30, 30, 60, 90, 150, 240]);
  });

  it("grows no further than its ceiling", () => {
    const bound = { MaxDelay: 100 * SECOND };
    assert.deepEqual(delays(policy({ DelayFunction: "exponential", ...bound }), 5), [30, 60, 100, 100, 100]);
    assert.deepEqual(
      delays(policy({ DelayFunction: "fibonacci", ...bound }), 7),
      [30, 30, 60, 90, 100, 100, 100],
    );
  });

  it("starts over after a run that was longer than the ceiling", () => {
    const bound = { MaxDelay: 100 * SECOND };
    const longRun = (attempt: number): number => (attempt === 5 ? 101 : 1);
    assert.deepEqual(
      delays(policy({ DelayFunction: "exponential", ...bound }), 8, longRun),
      [30, 60, 100, 100, 100, 30, 60, 100],
    );
    assert.deepEqual(
      delays(policy({ DelayFunction: "fibonacci", ...bound }), 9, longRun),
      [30, 30, 60, 90, 100, 30, 30, 60, 90],
    );
  });

  it("never lies below the delay nor above the ceiling", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("constant", "exponential", "fibonacci" as const),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 60, max: 600 }),
        fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 1, maxLength: 12 }),
        (DelayFunction, delay, ceiling, runs) => {
          const of = policy({ DelayFunction, Delay: delay * SECOND, MaxDelay: ceiling * SECOND });
          for (const found of delays(of, runs.length, (i) => runs[i]!)) {
            assert.ok(found >= delay && found <= ceiling, `${found} s`);
          }
        },
      ),
    );
  });
});

describe("the attempts of rescheduling", () => {
  it("are counted within the interval", () => {
    const two = limited(2, { Interval: 10 * SECOND, Delay: SECOND });
    const events = tracker(1, 1);
    assert.equal(attemptsLeft(two, null, 0), true);
    assert.equal(attemptsLeft(two, { Events: events.Events.slice(0, 1) }, 2 * SECOND), true);
    assert.equal(attemptsLeft(two, events, 2 * SECOND), false);
    assert.equal(attemptsLeft(two, events, 10.5 * SECOND), true);
  });

  it("are over where the next one would come after the interval", () => {
    assert.equal(attemptsLeft(limited(2, { Interval: 20 * SECOND }), null, 0), false);
  });

  it("are none without a policy, and endless where it is unlimited", () => {
    assert.equal(attemptsLeft(null, null, 0), false);
    assert.equal(attemptsLeft(policy(), tracker(30, 30, 30, 30, 30), 0), true);
  });

  it("are remembered: the last five without a limit, those of the interval with one", () => {
    const previous = { ID: "a", NodeID: "n", ModifyTime: 0, TaskStates: null } as Allocation;
    const many = { ...previous, RescheduleTracker: tracker(1, 1, 1, 1, 1, 1, 1) };
    assert.deepEqual(
      nextTracker(policy(), many, 8 * SECOND).Events.map((event) => event.PrevAllocID),
      ["a3", "a4", "a5", "a6", "a"],
    );
    assert.deepEqual(
      nextTracker(limited(9, { Interval: 4 * SECOND }), many, 8 * SECOND).Events.map(
        (event) => event.PrevAllocID,
      ),
      ["a5", "a6", "a"],
    );
    assert.deepEqual([...failedNodes(many)].sort(), ["n", "n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
  });
});

describe("a service that fails", () => {
  const failAll = (leader: SchedulerHarness, at: readonly number[]): Allocation[] => {
    const live = leader.live(web({})).sort((a, b) => (a.Name < b.Name ? -1 : 1));
    for (const [i, time] of at.entries()) leader.report(live[i]!.ID, failedAt(time));
    return live;
  };

  it("shares a follow-up evaluation with what fails within five seconds", async () => {
    const leader = cluster(3);
    await leader.register(service, web({ Count: 3 }));
    const { now } = leader;
    const failed = failAll(leader, [now - 9_000, now - 5_000, now - 3_000]);
    const run = await leader.run(service, again(web({}), { TriggeredBy: "alloc-failure" }));
    assert.deepEqual(
      run.created.map((evaluation) => evaluation.WaitUntil),
      [21_000, 27_000].map((delay) => new Date(now + delay).toISOString()),
    );
    const [first, second] = run.created.map((evaluation) => evaluation.ID);
    assert.deepEqual(
      failed.map((one) => leader.state.allocation(one.ID)!.FollowupEvalID),
      [first, first, second],
    );
    assert.ok(run.created.every((one) => one.StatusDescription === "created for delayed rescheduling"));
  });

  it("is rescheduled by its follow-up though that comes a little early", async () => {
    const leader = cluster(2);
    await leader.register(service, web({}));
    failAll(leader, [leader.now]);
    const run = await leader.run(service, again(web({})));
    leader.now += 25_000;
    assert.equal((await leader.run(service, run.created[0]!)).placed.length, 1);
  });

  it("gets another follow-up where the first is gone", async () => {
    const leader = cluster(2);
    await leader.register(service, web({}));
    failAll(leader, [leader.now]);
    const run = await leader.run(service, again(web({})));
    leader.state.putEvaluation({ ...run.created[0]!, Status: "canceled" });
    const next = await leader.run(service, again(web({})));
    assert.equal(next.created.length, 1);
  });

  it("stays failed when its attempts are used up, and counts", async () => {
    const leader = cluster(3);
    await leader.register(service, web({ Count: 2, ReschedulePolicy: limited(1) }));
    for (let attempt = 0; attempt < 2; attempt++) {
      const [first] = leader.live(web({})).filter((one) => one.Name === "web.g[0]");
      leader.report(first!.ID, failedAt(leader.now));
      leader.now += 60_000;
      await leader.run(service, again(web({})));
    }
    const run = await leader.run(service, again(web({})));
    assert.deepEqual([run.plans, run.created], [[], []]);
    assert.deepEqual(running(leader), ["0:web.g[1]"]);
  });

  it("is rescheduled past its limits when an operator forces it", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ ReschedulePolicy: limited(0) }));
    const [failed] = failAll(leader, [leader.now]);
    assert.deepEqual((await leader.run(service, again(web({})))).plans, []);
    leader.report(failed!.ID, wish({ ForceReschedule: true }));
    const run = await leader.run(service, again(web({})));
    assert.deepEqual(placements(run), [["web.g[0]", 0, failed!.ID]]);
    assert.deepEqual(stops(run), [
      { Name: "web.g[0]", JobVersion: 0, why: "alloc was rescheduled because it failed" },
    ]);
  });

  it("keeps the record of its attempts while there is no place for it", async () => {
    const leader = cluster(1);
    await leader.register(service, web({}));
    const [failed] = failAll(leader, [leader.now - 60_000]);
    const node = leader.state.nodes()[0]!;
    leader.state.putNode({ ...node, SchedulingEligibility: "ineligible" });
    const waiting = await leader.run(service, again(web({})));
    assert.equal(waiting.updated[0]!.QueuedAllocations!.g, 1);
    assert.equal(leader.state.allocation(failed!.ID)!.DesiredStatus, "run");
    leader.state.putNode(node);
    const run = await leader.run(service, waiting.created[0]!);
    assert.equal(run.placed[0]!.PreviousAllocation, failed!.ID);
    assert.equal(run.placed[0]!.RescheduleTracker!.Events.length, 1);
  });

  it("is not rescheduled when the group wants fewer", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    failAll(leader, [leader.now - 60_000]);
    const run = await leader.register(service, web({ Count: 1 }));
    assert.deepEqual(placements(run), []);
    assert.deepEqual(running(leader), ["1:web.g[1]"]);
  });

  it("that waits goes before one that runs when the group shrinks", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    failAll(leader, [leader.now]);
    await leader.run(service, again(web({})));
    await leader.register(service, web({ Count: 1 }));
    assert.deepEqual(running(leader), ["1:web.g[1]"]);
  });

  it("is rescheduled at once where its node is gone, since nothing can be noted there", async () => {
    const leader = cluster(2);
    await leader.register(service, web({}));
    const [failed] = failAll(leader, [leader.now]);
    leader.state.removeNode(failed!.NodeID);
    const run = await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    assert.deepEqual([placements(run), run.created], [[["web.g[0]", 0, failed!.ID]], []]);
  });

  it("keeps the record of its attempts where the plan was refused on the node of its replacement", async () => {
    let refused: string | undefined;
    const leader = new SchedulerHarness({ refuse: (node) => node === refused });
    for (let i = 0; i < 3; i++) leader.state.putNode(makeNode());
    await leader.register(service, web({}));
    const [failed] = failAll(leader, [leader.now - 60_000]);
    const tried = await leader.dryRun(service, again(web({})));
    refused = tried.placed[0]!.NodeID;
    const run = await leader.run(service, again(web({})));
    assert.equal(run.updated[0]!.Status, "failed");
    assert.equal(leader.state.allocation(failed!.ID)!.DesiredStatus, "stop");
    refused = undefined;
    const later = await leader.run(service, run.created[0]!);
    assert.deepEqual(placements(later), [["web.g[0]", 0, failed!.ID]]);
    assert.equal(later.placed[0]!.RescheduleTracker!.Events.length, 1);
    assert.deepEqual((await leader.run(service, again(web({})))).plans, []);
  });

  it("has one follow-up though the plan that notes it is refused at first", async () => {
    let refusals = 1;
    let onNode = "";
    const leader = new SchedulerHarness({ refuse: (node) => node === onNode && refusals-- > 0 });
    for (let i = 0; i < 2; i++) leader.state.putNode(makeNode());
    await leader.register(service, web({ Count: 1 }));
    const [failed] = failAll(leader, [leader.now]);
    onNode = failed!.NodeID;
    const run = await leader.run(service, again(web({})));
    assert.deepEqual([run.plans.length, run.created.length], [2, 1]);
    assert.equal(leader.state.allocation(failed!.ID)!.FollowupEvalID, run.created[0]!.ID);
  });
});
