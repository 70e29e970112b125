import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import fc from "fast-check";
import {
  canonicalizeForApi,
  canonicalizeForState,
  jobFromJson,
  parseJob,
  validateJob,
} from "../../../core/jobspec/index.js";
import { type BlockSchema, type FieldType, jobSchema } from "../../../core/jobspec/schema.js";
import { JOB_FILES, jobText, recorded, recordedText } from "./fixtures.js";

/** What registration decides, taken over from the recording. */
function registered(job: Job, stored: Job): Job {
  const { CreateIndex, JobModifyIndex, ModifyIndex, Stable, Status, SubmitTime, Version } = stored;
  return { ...job, CreateIndex, JobModifyIndex, ModifyIndex, Stable, Status, SubmitTime, Version };
}

describe("recorded forms", () => {
  test("web.hcl becomes the job that GET /v1/job/web showed", async () => {
    const stored = recorded("web-stored.json") as Job;
    const job = registered(canonicalizeForState(await parseJob(jobText("web"))), stored);
    const policy = stored.TaskGroups[0]!.Scaling!;
    Object.assign(job.TaskGroups[0]!.Scaling!, {
      ID: policy.ID,
      CreateIndex: policy.CreateIndex,
      ModifyIndex: policy.ModifyIndex,
    });
    assert.deepEqual(job, stored);
  });

  test("connect.hcl becomes the recorded job, without what admission adds", async () => {
    const stored = recorded("connect-stored.json") as Job;
    stored.TaskGroups[0]!.Tasks.length = 1;
    stored.TaskGroups[0]!.Networks![0]!.DynamicPorts = null;
    const job = registered(canonicalizeForState(await parseJob(jobText("connect"))), stored);
    assert.deepEqual(job, stored);
  });

  test("the defaults of a batch job are those that the recorded client sent", async () => {
    // The recording breaks off inside the first task; up to there, every value must agree.
    const start = recordedText("etl-request-start.txt");
    const job = canonicalizeForApi(await parseJob(jobText("batch")));
    const group = job.TaskGroups![0]!;
    for (const [key, value] of Object.entries({
      Count: group.Count,
      EphemeralDisk: group.EphemeralDisk,
      Migrate: group.Migrate,
      ReschedulePolicy: group.ReschedulePolicy,
      RestartPolicy: group.RestartPolicy,
    })) {
      const sent = new RegExp(`"TaskGroups".*?"${key}": (\\{[^}]*\\}|\\d+|null),`).exec(start)?.[1];
      assert.deepEqual(value, JSON.parse(sent ?? "undefined"), key);
    }
    assert.equal(job.Update, null);
    assert.equal(group.Update, null);
  });
});

describe("inheritance", () => {
  const parse = async (inside: string, type = "service") =>
    canonicalizeForState(
      await parseJob(`job "x" {\n  datacenters = ["dc1"]\n  type = "${type}"\n${inside}\n}`),
    );

  test("update, reschedule and migrate of the job reach the groups, whose own values win", async () => {
    const job = await parse(`
  update {
    canary       = 1
    max_parallel = 3
  }
  reschedule {
    delay = "1m"
  }
  migrate {
    max_parallel = 2
  }
  group "a" {
    update {
      canary = 2
    }
  }
  group "b" {}`);
    assert.deepEqual(
      job.TaskGroups.map((g) => [
        g.Update?.Canary,
        g.Update?.MaxParallel,
        g.ReschedulePolicy?.Delay,
        g.Migrate?.MaxParallel,
      ]),
      [
        [2, 3, 60e9, 2],
        [1, 3, 60e9, 2],
      ],
    );
    assert.deepEqual([job.Update.MaxParallel, job.Update.Canary, job.Update.Stagger], [3, 0, 30e9]);
  });

  test("a task's restart policy fills up from its group", async () => {
    const job = await parse(`
  group "g" {
    restart {
      attempts = 7
    }
    task "a" {
      restart {
        mode = "delay"
      }
    }
  }`);
    const expected = { Attempts: 7, Delay: 15e9, Interval: 1800e9, Mode: "delay" };
    assert.deepEqual(job.TaskGroups[0]!.Tasks[0]!.RestartPolicy, expected);
  });

  test("system jobs have no reschedule policy, batch jobs neither update nor migrate", async () => {
    const [system] = (await parse('  group "g" {}', "system")).TaskGroups;
    assert.equal(system!.ReschedulePolicy, null);
    const batch = await parse('  group "g" {}', "batch");
    assert.deepEqual([batch.TaskGroups[0]!.Update, batch.TaskGroups[0]!.Migrate], [null, null]);
    assert.equal(batch.Update.MaxParallel, 0);
  });

  test("names of services are filled in", async () => {
    const job = await parse(`
  group "g" {
    service {
      name = "\${BASE}-x"
      port = "1"
    }
    service {
      port = "2"
    }
    task "t" {
      service {
        name = "\${JOB}-\${TASKGROUP}-\${TASK}-\${NOMAD_REGION}"
      }
      service {
        check {
          type = "tcp"
        }
      }
    }
  }`);
    const [group] = job.TaskGroups;
    assert.deepEqual(
      [...group!.Services!, ...group!.Tasks[0]!.Services!].map((s) => s.Name),
      ["x-g-group-x", "x-g", "x-g-t-${NOMAD_REGION}", "x-g-t"],
    );
    assert.equal(group!.Tasks[0]!.Services![1]!.Checks![0]!.Name, 'service: "x-g-t" check');
  });

  test("count follows the scaling minimum, cpu gives way to cores", async () => {
    const job = await parse(`
  group "g" {
    scaling {
      min = 3
      max = 5
    }
    task "t" {
      resources {
        cores = 2
      }
    }
  }`);
    assert.equal(job.TaskGroups[0]!.Count, 3);
    assert.deepEqual(
      [job.TaskGroups[0]!.Tasks[0]!.Resources.CPU, job.TaskGroups[0]!.Tasks[0]!.Resources.Cores],
      [0, 2],
    );
  });
});

/** Jobs of every shape the schema admits, with any field missing, null or set. */
function anyObject(schema: BlockSchema, depth: number): fc.Arbitrary<object> {
  const fields = [...Object.values(schema.fields), ...(schema.server ?? [])].map(
    ({ api, type }): [string, fc.Arbitrary<unknown>] => [api, fc.option(anyValue(type, depth), { freq: 2 })],
  );
  if (schema.label !== undefined) fields.push([schema.label, fc.constantFrom("a", "b")]);
  return fc.record(Object.fromEntries(fields), { requiredKeys: [], noNullPrototype: true });
}

function anyValue(type: FieldType, depth: number): fc.Arbitrary<unknown> {
  const word = fc.constantFrom("", "x", "service", "batch", "system", "signal", "delay", "file", "${JOB}");
  if (typeof type === "object") {
    if (depth === 0) return fc.constant(null);
    if ("block" in type) return anyObject(type.block, depth - 1);
    if ("blocks" in type) return fc.array(anyObject(type.blocks, depth - 1), { maxLength: 2 });
    return fc.dictionary(fc.constantFrom("a", "b"), anyObject(type.byLabel, depth - 1), {
      maxKeys: 2,
      noNullPrototype: true,
    });
  }
  switch (type) {
    case "string":
      return word;
    case "int":
    case "float":
    case "duration":
      return fc.integer({ min: -2, max: 200 });
    case "bool":
      return fc.boolean();
    case "strings":
      return fc.array(word, { maxLength: 2 });
    case "lists":
      return fc.dictionary(word, fc.array(word, { maxLength: 2 }), { maxKeys: 2, noNullPrototype: true });
    case "map":
      return fc.dictionary(word, word, { maxKeys: 2, noNullPrototype: true });
    case "free":
      return fc.dictionary(word, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 2, noNullPrototype: true });
  }
}

describe("any job", () => {
  const job = anyObject(jobSchema, 5).map((value) => jobFromJson(value));

  test("both forms are fixed points, and the second contains the first", () => {
    fc.assert(
      fc.property(job, (input) => {
        const before = structuredClone(input);
        const api = canonicalizeForApi(input);
        const state = canonicalizeForState(input);
        assert.deepEqual(input, before, "the argument was changed");
        assert.deepEqual(canonicalizeForApi(api), api);
        assert.deepEqual(canonicalizeForState(state), state);
        assert.deepEqual(canonicalizeForState(api), state);
        assert.deepEqual(canonicalizeForState(jobFromJson(JSON.parse(JSON.stringify(state)))), state);
      }),
      { numRuns: 300 },
    );
  });

  test("can be validated", () => {
    fc.assert(
      fc.property(job, (input) => {
        const { errors, warnings } = validateJob(canonicalizeForState(input));
        assert.ok([...errors, ...warnings].every((text) => typeof text === "string" && text !== ""));
      }),
      { numRuns: 200 },
    );
  });
});

for (const name of JOB_FILES) {
  test(`${name}.hcl: both forms are fixed points`, async () => {
    const state = canonicalizeForState(await parseJob(jobText(name)));
    assert.deepEqual(canonicalizeForState(state), state);
    assert.deepEqual(canonicalizeForState(canonicalizeForApi(state)), state);
  });
}
