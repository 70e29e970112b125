import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Job, Task, TaskGroup } from "@drover/plugin-sdk";
import {
  canonicalizeForState,
  formatMultiError,
  formatWarnings,
  parseJob,
  validateJob,
} from "../../../core/jobspec/index.js";
import { jobText, recorded } from "./fixtures.js";

const web = canonicalizeForState(await parseJob(jobText("web")));

type Change = (parts: { job: Job; group: TaskGroup; task: Task }) => void;

function errorsOf(change: Change, base = web): string[] {
  const job = structuredClone(base);
  const group = job.TaskGroups[0]!;
  change({ job, group, task: group.Tasks[0]! });
  return validateJob(job).errors;
}

test("the recorded answer of POST /v1/validate/job, list and text", () => {
  const errors = errorsOf(({ job, task }) => {
    job.Datacenters = [];
    task.Driver = "";
  });
  const answer = recorded("validate-answer.json") as { Error: string; ValidationErrors: string[] };
  assert.deepEqual(errors, answer.ValidationErrors);
  assert.equal(formatMultiError(errors), answer.Error);
});

test("every error at once", () => {
  const errors = errorsOf(({ job, group, task }) => {
    job.ID = "a b";
    job.Priority = 101;
    job.Type = "srvice";
    job.Datacenters = [""];
    group.Count = -1;
    task.Driver = "";
    task.Resources.MemoryMB = 5;
  });
  assert.deepEqual(errors.slice(0, 4), [
    "Job ID contains a space",
    'Invalid job type: "srvice"; the schedulers that are enabled here take "service", "batch", "system", "sysbatch"',
    "Job priority must be between [1, 100]",
    "Job datacenter must be non-empty string",
  ]);
  assert.match(
    errors[4]!,
    /^Task group app validation failed: 3 errors occurred:\n\t\* Task group count can't be negative/,
  );
  assert.match(errors[4]!, /Missing task driver/);
  assert.match(errors[4]!, /minimum MemoryMB value is 10; got 5/);
  assert.equal(errors.length, 5);
});

describe("each rule", () => {
  const constraint =
    (Operand: string, RTarget: string, LTarget = "${attr.x}"): Change =>
    ({ group }) => {
      group.Constraints = [{ LTarget, Operand, RTarget }];
    };
  const cases: [name: string, change: Change, expected: RegExp][] = [
    ["missing ID", ({ job }) => (job.ID = ""), /^Missing job ID$/],
    ["null in the ID", ({ job }) => (job.ID = "a\0b"), /Job ID contains a null character/],
    ["null in the name", ({ job }) => (job.Name = "a\0b"), /Job Name contains a null character/],
    ["no namespace", ({ job }) => (job.Namespace = ""), /Job must be in a namespace/],
    ["no region", ({ job }) => (job.Region = ""), /Missing job region/],
    ["no groups", ({ job }) => (job.TaskGroups = []), /Missing job task groups/],
    ["priority 0", ({ job }) => (job.Priority = 0), /priority must be between/],
    [
      "same group twice",
      ({ job, group }) => job.TaskGroups.push(group),
      /Job task group 2 redefines 'app' from group 1/,
    ],
    ["unnamed group", ({ group }) => (group.Name = ""), /Job task group 1 missing name/],
    ["no tasks", ({ group }) => (group.Tasks = []), /Missing tasks for task group/],
    ["same task twice", ({ group, task }) => group.Tasks.push(task), /Task 2 redefines 'server' from task 1/],
    [
      "two leaders",
      ({ group, task }) => {
        task.Leader = true;
        group.Tasks.push({ ...task, Name: "b" });
      },
      /Only one task may be marked as leader/,
    ],
    ["slash in a task name", ({ task }) => (task.Name = "a/b"), /Task name cannot include slashes/],
    ["cpu", ({ task }) => (task.Resources.CPU = 0), /minimum CPU value is 1; got 0/],
    ["cpu and cores", ({ task }) => (task.Resources.Cores = 1), /either|not both/],
    [
      "memory_max",
      ({ task }) => (task.Resources.MemoryMaxMB = 32),
      /MemoryMaxMB value \(32\) should be larger than MemoryMB value \(64\)/,
    ],
    ["kill timeout", ({ task }) => (task.KillTimeout = -1), /KillTimeout must be a positive value/],
    [
      "kill timeout and progress deadline",
      ({ task }) => (task.KillTimeout = 61e9),
      /KillTimeout \(1m1s\) must be shorter/,
    ],
    ["log files", ({ task }) => (task.LogConfig.MaxFiles = 0), /minimum number of files is 1; got 0/],
    [
      "logs beyond the disk",
      ({ group, task }) => {
        group.EphemeralDisk.SizeMB = 10;
        task.LogConfig.MaxFiles = 10;
      },
      /log storage \(10 MB\) must be less than requested disk capacity \(10 MB\)/,
    ],
    ["small disk", ({ group }) => (group.EphemeralDisk.SizeMB = 9), /minimum DiskMB value is 10; got 9/],
    ["lifecycle", ({ task }) => (task.Lifecycle = { Hook: "later", Sidecar: false }), /invalid hook: later/],
    [
      "escape of a template",
      ({ task }) => (task.Templates![0]!.DestPath = "../../x"),
      /template destination escapes allocation directory/,
    ],
    [
      "template without content",
      ({ task }) => (task.Templates![0]!.EmbeddedTmpl = ""),
      /Must specify a source path or have an embedded template/,
    ],
    [
      "template signal",
      ({ task }) => (task.Templates![0]!.ChangeMode = "signal"),
      /Must specify signal value/,
    ],
    ["template perms", ({ task }) => (task.Templates![0]!.Perms = "999"), /as octal/],
    [
      "same template destination",
      ({ task }) => task.Templates!.push(task.Templates![0]!),
      /Template 2 has same destination as 1/,
    ],
    [
      "artifact checksum",
      ({ task }) =>
        (task.Artifacts = [
          {
            GetterHeaders: null,
            GetterMode: "any",
            GetterOptions: { checksum: "md5:12" },
            GetterSource: "s",
            RelativeDest: "local/",
          },
        ]),
      /invalid md5 checksum: 12/,
    ],
    [
      "artifact escape",
      ({ task }) =>
        (task.Artifacts = [
          {
            GetterHeaders: null,
            GetterMode: "any",
            GetterOptions: null,
            GetterSource: "",
            RelativeDest: "../../etc",
          },
        ]),
      /source must be specified\n\t\* destination escapes/,
    ],
    [
      "undefined volume",
      ({ task }) =>
        (task.VolumeMounts = [
          { Destination: "/d", PropagationMode: "private", ReadOnly: false, Volume: "v" },
        ]),
      /referencing undefined volume v/,
    ],
    [
      "host volume with modes",
      ({ group }) =>
        (group.Volumes = {
          v: {
            AccessMode: "x",
            AttachmentMode: "",
            MountOptions: null,
            Name: "v",
            PerAlloc: false,
            ReadOnly: false,
            Source: "",
            Type: "host",
          },
        }),
      /empty source\n\t\* host volumes cannot have an access mode/,
    ],
    [
      "vault",
      ({ task }) =>
        (task.Vault = { ChangeMode: "restart", ChangeSignal: "", Env: true, Namespace: "", Policies: null }),
      /Policy list cannot be empty/,
    ],
    [
      "restart interval",
      ({ group }) => (group.RestartPolicy.Interval = 1e9),
      /Interval can not be less than 5s \(got 1s\)/,
    ],
    [
      "restart attempts",
      ({ group }) => (group.RestartPolicy.Attempts = 100),
      /Can't restart the TaskGroup 100 times in an interval of 1m0s with a delay of 2s/,
    ],
    [
      "restart mode",
      ({ group }) => (group.RestartPolicy.Mode = "x" as "fail"),
      /Unsupported restart mode: "x"/,
    ],
    [
      "reschedule delay",
      ({ group }) => (group.ReschedulePolicy!.Delay = 1e9),
      /Delay cannot be less than 5s \(got 1s\)/,
    ],
    [
      "reschedule ambiguous",
      ({ group }) => Object.assign(group.ReschedulePolicy!, { Attempts: 1, Interval: 60e9 }),
      /is ambiguous/,
    ],
    [
      "reschedule interval",
      ({ group }) =>
        Object.assign(group.ReschedulePolicy!, { Attempts: 5, Interval: 60e9, Unlimited: false }),
      /set the interval to at least 15m30s to accommodate 5 attempts/,
    ],
    [
      "update deadlines",
      ({ group }) => (group.Update!.HealthyDeadline = 60e9),
      /Healthy deadline must be less than progress deadline: 1m0s > 1m0s/,
    ],
    [
      "auto promote",
      ({ group }) => Object.assign(group.Update!, { AutoPromote: true, Canary: 0 }),
      /Auto Promote requires a Canary count greater than zero/,
    ],
    [
      "update health",
      ({ group }) => (group.Update!.HealthCheck = "x" as "checks"),
      /Invalid health check given: "x"/,
    ],
    ["migrate", ({ group }) => (group.Migrate!.MaxParallel = -1), /MaxParallel must be >= 0 but found -1/],
    [
      "scaling bounds",
      ({ group }) => (group.Scaling!.Max = 1),
      /task group count must not be greater than maximum count/,
    ],
    ["spread weight", ({ group }) => (group.Spreads![0]!.Weight = 0), /positive weight from 0 to 100/],
    [
      "spread sum",
      ({ group }) =>
        (group.Spreads![0]!.SpreadTarget = [
          { Percent: 60, Value: "a" },
          { Percent: 50, Value: "a" },
        ]),
      /Spread target value "a" already defined\n\t\* Sum of spread target percentages must not be greater than 100%; got 110%/,
    ],
    ["affinity weight", ({ group }) => (group.Affinities![0]!.Weight = 0), /Affinity weight cannot be zero/],
    ["affinity range", ({ group }) => (group.Affinities![0]!.Weight = 101), /within the range \[-100,100\]/],
    ["unknown operand", constraint("~", "x"), /Unknown constraint operator "~"/],
    ["no right side", constraint("=", ""), /Operator "=" requires an RTarget/],
    [
      "no left side",
      constraint("=", "x", ""),
      /No LTarget provided but is required by constraint operator "="/,
    ],
    ["regexp", constraint("regexp", "("), /Regular expression failed to compile/],
    [
      "version",
      constraint("version", ">= x.y"),
      /Version constraint is invalid: Malformed constraint: >= x\.y/,
    ],
    ["semver", constraint("semver", "~> 1.0"), /Semver constraint is invalid/],
    ["distinct_property", constraint("distinct_property", "0"), /allowed count of 1 or greater/],
    ["is_set", constraint("is_set", "x"), /does not support an RTarget/],
    [
      "distinct_hosts in a task",
      ({ task }) => (task.Constraints = [{ LTarget: "", Operand: "distinct_hosts", RTarget: "" }]),
      /disallowed Operand at task level: distinct_hosts/,
    ],
    [
      "port label",
      ({ group }) => (group.Networks![0]!.DynamicPorts![0]!.Label = "a b"),
      /Port label "a b" must consist of/,
    ],
    [
      "port label twice",
      ({ group }) => group.Networks![0]!.DynamicPorts!.push(group.Networks![0]!.DynamicPorts![0]!),
      /Port label http already in use by taskgroup network/,
    ],
    [
      "static port twice",
      ({ group }) =>
        (group.Networks![0]!.ReservedPorts = ["a", "b"].map((Label) => ({
          HostNetwork: "default",
          Label,
          To: 0,
          Value: 80,
        }))),
      /Static port 80 already reserved by taskgroup network:a/,
    ],
    [
      "port range",
      ({ group }) =>
        (group.Networks![0]!.ReservedPorts = [
          { HostNetwork: "default", Label: "a", To: 70000, Value: 70000 },
        ]),
      /Port a \(70000\) cannot be greater than 65535\n\t\* Port "a" cannot be mapped to a port \(70000\) greater/,
    ],
    ["network mode", ({ group }) => (group.Networks![0]!.Mode = "brdge"), /Network mode "brdge"/],
    [
      "stop after disconnect",
      ({ group }) => (group.StopAfterClientDisconnect = -1),
      /stop_after_client_disconnect must be a positive value/,
    ],
    [
      "periodic service",
      ({ job }) =>
        (job.Periodic = {
          Enabled: true,
          ProhibitOverlap: false,
          Spec: "* * * * *",
          SpecType: "cron",
          TimeZone: "UTC",
        }),
      /Periodic can only be used with "batch" or "sysbatch" scheduler/,
    ],
    [
      "periodic spec",
      ({ job }) =>
        (job.Periodic = {
          Enabled: true,
          ProhibitOverlap: false,
          Spec: "61 * * * *",
          SpecType: "cron",
          TimeZone: "Mars/X",
        }),
      /Invalid time zone "Mars\/X".*\n\t\* Invalid cron spec "61 \* \* \* \*": value '61' out of range in minute field/,
    ],
    [
      "parameterized service",
      ({ job }) =>
        (job.ParameterizedJob = { MetaOptional: ["a"], MetaRequired: ["a"], Payload: "x" as "optional" }),
      /Parameterized job can only be used/,
    ],
    [
      "dispatch payload without parameters",
      ({ task }) => (task.DispatchPayload = { File: "x" }),
      /job is not parameterized/,
    ],
  ];
  for (const [name, change, expected] of cases) {
    test(name, () => assert.match(errorsOf(change).join("\n"), expected));
  }

  test("services and checks", async () => {
    const job = canonicalizeForState(
      await parseJob(`job "x" {
  datacenters = ["dc1"]
  group "g" {
    service {
      name = "bad name"
      check {
        type = "tcp"
      }
    }
    task "t" {
      driver = "d"
      service {
        name = "ok-\${NOMAD_REGION}"
        port = "http"
        check {
          type     = "http"
          interval = "500ms"
        }
        check {
          type     = "sctp"
          interval = "10s"
          timeout  = "2s"
        }
      }
    }
  }
}`),
    );
    const text = formatMultiError(validateJob(job).errors);
    for (const expected of [
      'Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes: "bad name"',
      "check requires a port but neither check nor service",
      "http type must have http path",
      "interval (500ms) cannot be lower than 1s",
      "missing required value timeout. Timeout cannot be less than 1s",
      'invalid type ("sctp")',
      'port label "http" referenced by services ok-${NOMAD_REGION} does not exist',
    ]) {
      assert.ok(text.includes(expected), `${expected}\nis not in\n${text}`);
    }
  });

  test("sysbatch jobs are held to what fits every node and to what runs to completion", async () => {
    const base = canonicalizeForState(
      await parseJob(
        'job "x" {\n  datacenters = ["dc1"]\n  type = "sysbatch"\n  group "g" {\n    task "t" {\n      driver = "d"\n    }\n  }\n}',
      ),
    );
    assert.deepEqual(
      errorsOf(() => {}, base),
      [],
    );
    assert.equal(base.TaskGroups[0]!.ReschedulePolicy, null);
    assert.equal(base.TaskGroups[0]!.RestartPolicy.Attempts, 3);
    assert.match(
      errorsOf(({ group }) => (group.Count = 2), base).join(),
      /Count cannot exceed 1 with sysbatch scheduler/,
    );
    assert.match(
      errorsOf(({ group }) => (group.Update = web.TaskGroups[0]!.Update), base).join(),
      /Job type "sysbatch" does not allow update block/,
    );
    assert.match(
      errorsOf(({ group }) => (group.ReschedulePolicy = web.TaskGroups[0]!.ReschedulePolicy), base).join(),
      /should not have a reschedule policy/,
    );
    assert.deepEqual(
      errorsOf(({ job }) => {
        job.ParameterizedJob = { MetaOptional: null, MetaRequired: null, Payload: "optional" };
      }, base),
      [],
    );
  });

  test("system jobs", async () => {
    const base = canonicalizeForState(
      await parseJob(
        'job "x" {\n  datacenters = ["dc1"]\n  type = "system"\n  group "g" {\n    task "t" {\n      driver = "d"\n    }\n  }\n}',
      ),
    );
    assert.deepEqual(
      errorsOf(() => {}, base),
      [],
    );
    assert.match(
      errorsOf(({ group }) => (group.Count = 2), base).join(),
      /Count cannot exceed 1 with system scheduler/,
    );
    assert.match(errorsOf(({ group }) => (group.Spreads = []), base).join(), /may not have a spread stanza/);
  });
});

describe("limits", () => {
  test("a job too large is refused with its size and nothing else", () => {
    const { errors } = validateJob(web, { maxJobBytes: 100 });
    assert.equal(errors.length, 1);
    assert.match(errors[0]!, /^Job is too large: it has \d+ bytes, at most 100 are accepted/);
  });

  test("job types are those that schedulers are there for", () => {
    const job = { ...web, Type: "gpu" };
    assert.deepEqual(validateJob(job, { jobTypes: ["service", "gpu"] }).errors, []);
    assert.deepEqual(validateJob(job, { jobTypes: ["service", "batch"] }).errors, [
      'Invalid job type: "gpu"; the schedulers that are enabled here take "service", "batch"',
    ]);
  });
});

test("warnings", async () => {
  const job = structuredClone(web);
  job.TaskGroups[0]!.Update!.MaxParallel = 5;
  job.TaskGroups[0]!.Networks![0]!.MBits = 10;
  const { errors, warnings } = validateJob(job);
  assert.deepEqual(errors, []);
  assert.equal(warnings.length, 2);
  assert.match(
    formatWarnings(warnings),
    /^2 warning\(s\):\n\n\* Group "app" has warnings: Update max parallel count/,
  );
  assert.equal(formatWarnings([]), "");
});
