import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { MemberRecord } from "../../../../core/server/members/member-record.js";
import { MemberTable, type TableEvent } from "../../../../core/server/members/member-table.js";

const DAY = 24 * 3_600_000;

const record = (number: number, extra: Partial<MemberRecord> = {}): MemberRecord => ({
  name: `server-${number}.global`,
  addr: `10.0.0.${number}`,
  port: 4648,
  tags: { id: `id-${number}`, region: "global", port: "4647", rpc_addr: `10.0.0.${number}`, role: "nomad" },
  incarnation: 1,
  status: "alive",
  age: 0,
  ...extra,
});

function table(limit?: number) {
  const clock = { now: 0 };
  const events: string[] = [];
  const members = new MemberTable(
    { reapAfter: DAY, now: () => clock.now, ...(limit === undefined ? {} : { limit }) },
    ({ type, member }: TableEvent) => void events.push(`${type} ${member.Name}`),
  );
  return { members, clock, events };
}

test("records end the same in whatever order they come: the newest word, and leaving over the same word (property)", () => {
  const words = fc.array(
    fc.record({
      number: fc.integer({ min: 1, max: 4 }),
      incarnation: fc.integer({ min: 1, max: 4 }),
      status: fc.constantFrom("alive" as const, "left" as const),
    }),
    { maxLength: 20 },
  );
  const shuffled = words.chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
  );
  fc.assert(
    fc.property(shuffled, ([one, other]) => {
      const ends = [one, other].map((list) => {
        const { members } = table();
        for (const { number, incarnation, status } of list) {
          const said = record(number, { incarnation, status });
          members.merge({ ...said, tags: { ...said.tags, word: String(incarnation) } });
        }
        const known = members
          .all()
          .map((each) => [each.name, each.record.incarnation, each.record.tags.word, each.status])
          .sort();
        return { known, digest: members.digest({ name: "self", incarnation: 1 }) };
      });
      assert.deepEqual(ends[0], ends[1]);
    }),
  );
});

test("a server that misses its probes fails, one that is heard is alive, and others' opinions change neither", () => {
  const { members, events } = table();
  members.merge(record(1));
  const one = members.get("server-1.global")!;
  members.missed(one, 2);
  assert.equal(one.status, "alive");
  members.missed(one, 2);
  assert.equal(one.status, "failed");
  members.merge(record(1, { incarnation: 5 }));
  assert.equal(one.status, "failed", "what others tell of it is not a sign of its life");
  members.heard(one);
  members.merge(record(1, { incarnation: 5, status: "failed" }));
  assert.equal(one.status, "alive");
  assert.deepEqual(events, ["join server-1.global", "failed server-1.global", "join server-1.global"]);
});

test("servers that failed or left are forgotten after a day, and not learnt again from who still knows them", () => {
  const { members, clock, events } = table();
  members.merge(record(1));
  members.merge(record(2, { status: "left" }));
  members.missed(members.get("server-1.global")!, 1);
  clock.now = DAY;
  members.reap();
  assert.equal(members.size, 2);
  const told = members.records();
  clock.now++;
  members.reap();
  assert.equal(members.size, 0);
  for (const each of told) members.merge({ ...each, age: each.age + 1 });
  assert.equal(members.size, 0);
  assert.equal(events.filter((event) => event.startsWith("reap")).length, 2);
});

test("a full list forgets who is gone for who is there, and takes no more when all are", () => {
  const { members } = table(2);
  members.merge(record(1, { status: "left" }));
  assert.ok(members.merge(record(2)));
  assert.ok(members.merge(record(3)));
  assert.equal(members.get("server-1.global"), undefined);
  assert.equal(members.merge(record(4)), false);
  assert.equal(members.size, 2);
  assert.ok(members.merge(record(2, { incarnation: 2 })), "what is known is kept current");
});

test("two lists are told apart by their digests when a word or a leaving differs", () => {
  const digest = (...records: MemberRecord[]) => {
    const { members } = table();
    for (const each of records) members.merge(each);
    return members.digest({ name: "self", incarnation: 1 });
  };
  const base = digest(record(1), record(2));
  assert.equal(digest(record(2), record(1)), base);
  assert.equal(digest(record(1), record(2, { status: "failed" })), base, "failures are judged by each");
  for (const other of [
    digest(record(1)),
    digest(record(1), record(2, { incarnation: 2 })),
    digest(record(1), record(2, { status: "left" })),
    digest(record(1), record(3)),
  ]) {
    assert.notEqual(other, base);
  }
});
