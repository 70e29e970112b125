/** What holds for the difference of any two versions of a job. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Constraint, FieldDiff, Job, JobDiff, JobInput, ObjectDiff } from "@drover/plugin-sdk";
import fc from "fast-check";
import { canonicalizeForState, diffJobs } from "../../../../core/jobspec/index.js";

const word = fc.constantFrom("", "a", "b", "c");
const name = fc.constantFrom("a", "b", "c");
const small = fc.integer({ min: 0, max: 3 });
const texts = fc.array(
  word.filter((text) => text !== ""),
  { maxLength: 3 },
);
const map = fc.dictionary(
  name,
  word.filter((text) => text !== ""),
  { maxKeys: 3 },
);
const list = <T>(of: fc.Arbitrary<T>) => fc.array(of, { maxLength: 3 });
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const named = <T extends { Name: string }>(of: fc.Arbitrary<T>) =>
  fc.uniqueArray(of, { maxLength: 3, selector: (item) => item.Name });

const constraint: fc.Arbitrary<Constraint> = fc.record({
  LTarget: name,
  Operand: fc.constant("="),
  RTarget: word,
});
const affinity = fc.record({ LTarget: name, Operand: fc.constant("="), RTarget: word, Weight: small });
const port = fc.record({ Label: name, To: small, Value: small });
const network = fc.record({ Mode: word, DynamicPorts: list(port), ReservedPorts: list(port) });
const check = fc.record({ Name: name, Type: word, Interval: small, Args: texts });
const service = fc.record({ Name: name, PortLabel: word, Tags: texts, Meta: map, Checks: list(check) });
const template = fc.record({ DestPath: word, EmbeddedTmpl: word, Splay: small });
const config = fc.dictionary(name, fc.oneof(word, small, fc.boolean(), texts, list(map)), { maxKeys: 3 });
const task = fc.record({
  Name: name,
  Driver: name,
  Config: config,
  Env: map,
  KillTimeout: small,
  Leader: fc.boolean(),
  Constraints: list(constraint),
  Services: list(service),
  Templates: list(template),
  Resources: fc.record({ CPU: small, MemoryMB: small, Networks: list(network) }),
  Vault: maybe(fc.record({ Policies: texts, Env: fc.boolean() })),
});
const group = fc.record({
  Name: name,
  Count: small,
  Meta: map,
  Constraints: list(constraint),
  Affinities: list(affinity),
  Networks: list(network),
  Services: list(service),
  ShutdownDelay: maybe(fc.integer({ min: 1, max: 3 })),
  Tasks: named(task),
});
const job: fc.Arbitrary<Job> = fc
  .record({
    Priority: small,
    Meta: map,
    Datacenters: texts,
    Constraints: list(constraint),
    Affinities: list(affinity),
    Periodic: maybe(fc.record({ Spec: word, Enabled: fc.boolean() })),
    TaskGroups: named(group),
  })
  .map((input) => canonicalizeForState({ ID: "job", Type: "batch", ...input } as unknown as JobInput));

/** What Nomad lists only where it changed. */
const IN_EDITS_ONLY = new Set(["Spread", "Migrate", "Scaling", "Consul", "ScalingPolicy"]);

type Step = (path: string, diff: FieldDiff) => void;

/** Calls for every field of a difference with the names of what it is in. */
function walk(diff: JobDiff, step: Step): void {
  const contents = (path: string, fields: FieldDiff[] | null, objects: ObjectDiff[] | null): void => {
    for (const field of fields ?? []) step(`${path}/${field.Name}`, field);
    for (const object of objects ?? []) {
      if (!IN_EDITS_ONLY.has(object.Name)) contents(`${path}/${object.Name}`, object.Fields, object.Objects);
    }
  };
  contents("", diff.Fields, diff.Objects);
  for (const tg of diff.TaskGroups ?? []) {
    contents(`/${tg.Name}`, tg.Fields, tg.Objects);
    for (const one of tg.Tasks ?? []) {
      // Only a task's own policy is listed, and only where it changed.
      const objects = one.Objects?.filter(({ Name }) => Name !== "RestartPolicy") ?? null;
      contents(`/${tg.Name}/${one.Name}`, one.Fields, objects);
    }
  }
}

/** Every value of a job with the names of what it is in, counted. */
function facts(of: Job): Map<string, number> {
  const counted = new Map<string, number>();
  walk(diffJobs(null, of, false), (path, { New }) => add(counted, `${path}=${New}`, 1));
  return counted;
}

function add(counted: Map<string, number>, fact: string, count: number): void {
  const sum = (counted.get(fact) ?? 0) + count;
  if (sum === 0) counted.delete(fact);
  else counted.set(fact, sum);
}

const sorted = (counted: Map<string, number>) => [...counted].sort(([a], [b]) => (a < b ? -1 : 1));

test("a job does not differ from itself", () => {
  fc.assert(
    fc.property(job, fc.boolean(), (one, context) => {
      const diff = diffJobs(one, structuredClone(one), context);
      assert.equal(diff.Type, "None");
      let fields = 0;
      walk(diff, () => fields++);
      assert.equal(fields, 0);
    }),
  );
});

test("what was added, deleted and edited leads from the one version to the other", () => {
  fc.assert(
    fc.property(job, job, fc.boolean(), (before, after, context) => {
      const reached = facts(before);
      walk(diffJobs(before, after, context), (path, { Type, Old, New }) => {
        if (Type === "None") {
          assert.equal(Old, New, path);
          return;
        }
        assert.notEqual(Old, New, path);
        assert.equal(Type, Old === "" ? "Added" : New === "" ? "Deleted" : "Edited", path);
        if (Old !== "") add(reached, `${path}=${Old}`, -1);
        if (New !== "") add(reached, `${path}=${New}`, 1);
      });
      assert.deepEqual(sorted(reached), sorted(facts(after)));
    }),
  );
});

test("the way back is the same difference, with added and deleted exchanged", () => {
  const back = { Added: "Deleted", Deleted: "Added", Edited: "Edited", None: "None" } as const;
  const reverse = (value: unknown): unknown => {
    if (Array.isArray(value))
      return value.map(reverse).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    if (typeof value !== "object" || value === null) return value;
    const { Type, Old, New, ...rest } = value as { Type: keyof typeof back; Old?: string; New?: string };
    const inner = Object.fromEntries(Object.entries(rest).map(([key, item]) => [key, reverse(item)]));
    return { ...inner, Type: back[Type], Old: New, New: Old };
  };
  fc.assert(
    fc.property(job, job, fc.boolean(), (a, b, context) => {
      // Reversing twice only sorts: two deletions may come in another order than two additions.
      assert.deepEqual(reverse(diffJobs(a, b, context)), reverse(reverse(diffJobs(b, a, context))));
    }),
  );
});

test("a whole is edited exactly where something in it is", () => {
  const parts = (value: object): { Type: string }[] =>
    Object.values(value).flatMap((inner) => (Array.isArray(inner) ? (inner as { Type: string }[]) : []));
  const check = (value: { Type: string; Fields?: unknown }): void => {
    const inner = parts(value).filter((part) => typeof part === "object");
    if (value.Type === "Edited" && !("Old" in value)) assert.ok(inner.some(({ Type }) => Type !== "None"));
    if (value.Type === "None") assert.ok(inner.every(({ Type }) => Type === "None"));
    inner.forEach(check);
  };
  fc.assert(fc.property(job, job, fc.boolean(), (a, b, context) => check(diffJobs(a, b, context))));
});
