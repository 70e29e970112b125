import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { Evaluation } from "@drover/plugin-sdk";
import fc from "fast-check";
import {
  DEFAULT_BROKER_OPTIONS,
  EvalBroker,
  FAILED_QUEUE,
} from "../../../../core/server/evaluations/eval-broker.js";

let serial = 0;
function evaluation(extra: Partial<Evaluation> = {}): Evaluation {
  serial++;
  return {
    ID: `eval-${serial}`,
    Namespace: "default",
    Priority: 50,
    Type: "service",
    TriggeredBy: "job-register",
    JobID: `job-${serial}`,
    Status: "pending",
    CreateIndex: serial,
    ModifyIndex: serial,
    CreateTime: 0,
    ModifyTime: 0,
    ...extra,
  };
}

function broker(options = {}, superseded: Evaluation[] = []): EvalBroker {
  const made = new EvalBroker(
    { ...DEFAULT_BROKER_OPTIONS, ...options },
    () => {},
    () => {},
    (evaluations) => superseded.push(...evaluations),
  );
  made.setEnabled(true);
  return made;
}

test("the highest priority comes out first, then the oldest", () => {
  const queue = broker();
  const low = evaluation({ Priority: 10 });
  const old = evaluation({ Priority: 70 });
  const young = evaluation({ Priority: 70 });
  for (const each of [low, young, old]) queue.enqueue(each);
  assert.deepEqual(
    [1, 2, 3].map(() => queue.dequeue(["service"])?.evaluation.ID),
    [old.ID, young.ID, low.ID],
  );
});

test("only evaluations of the asked types are given out", () => {
  const queue = broker();
  queue.enqueue(evaluation({ Type: "batch" }));
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.equal(queue.dequeue(["service", "batch"])?.evaluation.Type, "batch");
});

test("a second evaluation of a job waits until the first is acked", () => {
  const queue = broker();
  const first = evaluation({ JobID: "web" });
  const second = evaluation({ JobID: "web", Priority: 90 });
  queue.enqueue(first);
  queue.enqueue(second);
  const held = queue.dequeue(["service"]);
  assert.equal(held?.evaluation.ID, first.ID);
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.equal(queue.stats().pending, 1);
  queue.ack(first.ID, held!.token);
  assert.equal(queue.dequeue(["service"])?.evaluation.ID, second.ID);
});

test("of evaluations that wait after changes of nodes the newest alone is delivered, and those of people all", () => {
  const superseded: Evaluation[] = [];
  const queue = broker({}, superseded);
  const of = (TriggeredBy: Evaluation["TriggeredBy"], extra: Partial<Evaluation> = {}) =>
    evaluation({ JobID: "logs", Type: "system", TriggeredBy, ...extra });
  const first = of("node-update");
  const [a, b] = [of("node-update"), of("node-update")];
  const byHand = of("job-register");
  const woken = of("queued-allocs", { Status: "blocked", NodeID: "n1" });
  const last = of("node-update");
  for (const each of [first, a, b, byHand, woken, last]) queue.enqueue(each);
  const delivered: string[] = [];
  for (let held = queue.dequeue(["system"]); held !== undefined; held = queue.dequeue(["system"])) {
    delivered.push(held.evaluation.ID);
    queue.ack(held.evaluation.ID, held.token);
  }
  assert.deepEqual(delivered, [first.ID, byHand.ID, woken.ID, last.ID]);
  assert.deepEqual(
    superseded.map(({ ID }) => ID),
    [a.ID, b.ID],
  );
  assert.ok(!queue.has(a.ID));
});

test("a woken evaluation of one node makes no other needless", () => {
  const superseded: Evaluation[] = [];
  const queue = broker({}, superseded);
  const of = (TriggeredBy: Evaluation["TriggeredBy"], extra: Partial<Evaluation> = {}) =>
    evaluation({ JobID: "logs", TriggeredBy, ...extra });
  const [first, second] = [of("node-update"), of("node-update")];
  for (const each of [first, second, of("queued-allocs", { Status: "blocked", NodeID: "n1" })])
    queue.enqueue(each);
  const held = queue.dequeue(["service"])!;
  queue.ack(first.ID, held.token);
  assert.equal(queue.dequeue(["service"])?.evaluation.ID, second.ID);
  assert.deepEqual(superseded, []);
});

test("each delivery after the second waits longer than the one before", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const queue = broker({ deliveryLimit: 10, initialNackDelay: 1, subsequentNackDelay: 20 });
  const one = evaluation();
  queue.enqueue(one);
  for (const delay of [1, 20, 40, 60]) {
    queue.nack(one.ID, queue.dequeue(["service"])!.token, "again");
    now += delay - 1;
    t.mock.timers.tick(delay - 1);
    assert.equal(queue.dequeue(["service"]), undefined, `within ${delay} ms`);
    now += 1;
    t.mock.timers.tick(1);
    assert.ok(queue.outstandingToken(one.ID) === undefined && queue.has(one.ID));
  }
});

test("the same job id in another namespace is another job", () => {
  const queue = broker();
  queue.enqueue(evaluation({ JobID: "web" }));
  queue.enqueue(evaluation({ JobID: "web", Namespace: "dev" }));
  assert.ok(queue.dequeue(["service"]));
  assert.ok(queue.dequeue(["service"]));
});

test("an evaluation that is known is not taken twice", () => {
  const queue = broker();
  const once = evaluation();
  queue.enqueue(once);
  queue.enqueue(once);
  const held = queue.dequeue(["service"])!;
  queue.enqueue(once);
  queue.ack(once.ID, held.token);
  assert.equal(queue.dequeue(["service"]), undefined);
});

test("an ack with the token of an earlier delivery is refused", () => {
  const queue = broker({ initialNackDelay: 0 });
  const one = evaluation();
  queue.enqueue(one);
  queue.dequeue(["service"]);
  assert.throws(() => queue.ack(one.ID, "another"), /token does not match/);
  assert.throws(() => queue.ack("nobody", "another"), /not outstanding/);
});

test("a nacked evaluation is delivered again after the delay, under a new token", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const queue = broker();
  const one = evaluation();
  queue.enqueue(one);
  const first = queue.dequeue(["service"])!;
  queue.nack(one.ID, first.token, "no memory");
  assert.equal(queue.dequeue(["service"]), undefined);
  now = 1_000;
  t.mock.timers.tick(1_000);
  const second = queue.dequeue(["service"])!;
  assert.equal(second.evaluation.ID, one.ID);
  assert.notEqual(second.token, first.token);
});

test("an evaluation held longer than the nack timeout is delivered again, unless its plan is queued", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const queue = broker({ nackTimeout: 100, initialNackDelay: 10 });
  const one = evaluation();
  queue.enqueue(one);
  const first = queue.dequeue(["service"])!;
  queue.pauseNackTimeout(one.ID, first.token);
  t.mock.timers.tick(1_000);
  assert.equal(queue.outstandingToken(one.ID), first.token);
  queue.resumeNackTimeout(one.ID, first.token);
  t.mock.timers.tick(100);
  assert.equal(queue.outstandingToken(one.ID), undefined);
  now = 10;
  t.mock.timers.tick(10);
  assert.equal(queue.dequeue(["service"])?.evaluation.ID, one.ID);
});

test("after the delivery limit the evaluation goes to the failed queue and keeps its job", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const queue = broker({ deliveryLimit: 2, initialNackDelay: 5 });
  const one = evaluation({ JobID: "web" });
  const next = evaluation({ JobID: "web" });
  queue.enqueue(one);
  queue.enqueue(next);
  queue.nack(one.ID, queue.dequeue(["service"])!.token, "first");
  now = 5;
  t.mock.timers.tick(5);
  queue.nack(one.ID, queue.dequeue(["service"])!.token, "second");
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.equal(queue.stats().failed, 1);
  const failed = queue.dequeue([FAILED_QUEUE])!;
  assert.equal(failed.evaluation.ID, one.ID);
  queue.ack(one.ID, failed.token);
  assert.equal(queue.dequeue(["service"])?.evaluation.ID, next.ID);
});

test("an evaluation with WaitUntil is held back until then", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const queue = broker();
  queue.enqueue(evaluation({ WaitUntil: new Date(1_000_000 + 500).toISOString() }));
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.equal(queue.stats().delayed, 1);
  now = 500;
  t.mock.timers.tick(500);
  assert.ok(queue.dequeue(["service"]));
});

test("a wall clock that is set back an hour does not hold a delayed evaluation up", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let [now, wall] = [0, 10_000_000];
  t.mock.method(performance, "now", () => now);
  t.mock.method(Date, "now", () => wall);
  const queue = broker();
  queue.enqueue(evaluation({ WaitUntil: new Date(wall + 500).toISOString() }));
  wall -= 3_600_000;
  now = 499;
  t.mock.timers.tick(499);
  assert.equal(queue.dequeue(["service"]), undefined);
  now = 500;
  t.mock.timers.tick(1);
  assert.ok(queue.dequeue(["service"]));
});

test("an evaluation written again by its holder is delivered again after the ack", () => {
  const queue = broker();
  const one = evaluation();
  queue.enqueue(one);
  const held = queue.dequeue(["service"])!;
  queue.requeue({ ...one, ModifyIndex: 99 }, held.token);
  assert.equal(queue.dequeue(["service"]), undefined);
  queue.ack(one.ID, held.token);
  assert.equal(queue.dequeue(["service"])?.evaluation.ModifyIndex, 99);
});

test("disabling forgets everything", () => {
  const queue = broker();
  queue.enqueue(evaluation());
  queue.setEnabled(false);
  queue.setEnabled(true);
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.deepEqual(queue.stats(), { ready: 0, unacked: 0, pending: 0, delayed: 0, failed: 0 });
});

test("whatever the order of enqueue, dequeue, ack and nack: a job is held once and nothing is lost", () => {
  const actions = fc.array(
    fc.oneof(
      fc.record({
        do: fc.constant("enqueue" as const),
        job: fc.nat(3),
        priority: fc.integer({ min: 1, max: 100 }),
      }),
      fc.record({ do: fc.constant("dequeue" as const) }),
      fc.record({ do: fc.constant("ack" as const), pick: fc.nat() }),
      fc.record({ do: fc.constant("nack" as const), pick: fc.nat() }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(actions, (steps) => {
      mock.timers.enable({ apis: ["setTimeout"] });
      let now = 0;
      const clock = mock.method(performance, "now", () => now);
      try {
        const queue = broker({ deliveryLimit: 3, initialNackDelay: 1, subsequentNackDelay: 1 });
        const open = new Set<string>();
        const held: { id: string; job: string; token: string }[] = [];
        for (const step of steps) {
          if (step.do === "enqueue") {
            const each = evaluation({ JobID: `job-${step.job}`, Priority: step.priority });
            open.add(each.ID);
            queue.enqueue(each);
          } else if (step.do === "dequeue") {
            const got = queue.dequeue(["service", FAILED_QUEUE]);
            if (got === undefined) continue;
            const job = got.evaluation.JobID;
            assert.ok(!held.some((other) => other.job === job), `job ${job} is held twice`);
            held.push({ id: got.evaluation.ID, job, token: got.token });
          } else if (held.length > 0) {
            const [one] = held.splice(step.pick % held.length, 1);
            if (step.do === "ack") {
              queue.ack(one!.id, one!.token);
              open.delete(one!.id);
            } else queue.nack(one!.id, one!.token, "test");
          }
          now += 1;
          mock.timers.tick(1);
        }
        for (const one of held) {
          queue.ack(one.id, one.token);
          open.delete(one.id);
        }
        for (
          let got = queue.dequeue(["service", FAILED_QUEUE]);
          got;
          got = queue.dequeue(["service", FAILED_QUEUE])
        ) {
          queue.ack(got.evaluation.ID, got.token);
          open.delete(got.evaluation.ID);
          now += 1;
          mock.timers.tick(1);
        }
        assert.deepEqual([...open], []);
        queue.setEnabled(false);
      } finally {
        clock.mock.restore();
        mock.timers.reset();
      }
    }),
  );
});
test("a delivery given back comes again at once and does not count", () => {
  const queue = broker({ deliveryLimit: 1 });
  const only = evaluation();
  queue.enqueue(only);
  for (let i = 0; i < 5; i++) {
    const { token } = queue.dequeue(["service"])!;
    queue.giveBack(only.ID, token);
  }
  const { token } = queue.dequeue(["service"])!;
  assert.throws(() => queue.giveBack(only.ID, "old"), /token does not match/);
  queue.nack(only.ID, token, "its own fault");
  assert.equal(queue.dequeue(["service"]), undefined);
  assert.equal(queue.dequeue([FAILED_QUEUE])?.evaluation.ID, only.ID);
  assert.equal(queue.lastFailure(only.ID), "its own fault");
});
