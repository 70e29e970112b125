import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type {
  Constraint,
  FieldDiff,
  Job,
  JobDiff,
  ObjectDiff,
  Port,
  Task,
  TaskGroup,
} from "@drover/plugin-sdk";
import { makeJob } from "@drover/plugin-sdk/testing";
import { annotate, canonicalizeForState, diffJobs } from "../../../../core/jobspec/index.js";
import { richJob } from "./rich-job.js";

type Change = (job: Job, group: TaskGroup, task: Task) => void;

function changed(job: Job, change: Change): Job {
  const copy = structuredClone(job);
  change(copy, copy.TaskGroups[0]!, copy.TaskGroups[0]!.Tasks[0]!);
  return copy;
}

/** The difference that a change makes, without what is unchanged around it. */
function difference(change: Change, before: Job = richJob(), context = false): JobDiff {
  return diffJobs(before, changed(before, change), context);
}

const inGroup = (diff: JobDiff) => diff.TaskGroups!.find(({ Type }) => Type !== "None")!;
const inTask = (diff: JobDiff) => inGroup(diff).Tasks!.find(({ Type }) => Type !== "None")!;

/** `+Name=new`, `-Name=old`, `~Name=old>new`, ` Name=same`. */
function brief({ Name, Type, Old, New }: FieldDiff): string {
  switch (Type) {
    case "Added":
      return `+${Name}=${New}`;
    case "Deleted":
      return `-${Name}=${Old}`;
    case "Edited":
      return `~${Name}=${Old}>${New}`;
    default:
      return ` ${Name}=${New}`;
  }
}

const briefs = (fields: FieldDiff[] | null): string[] => (fields ?? []).map(brief);

/** `Edited Network [~Mode=a>b] { Added Dynamic Port […] }` */
function outline(objects: ObjectDiff[] | null): string[] {
  return (objects ?? []).map(({ Type, Name, Fields, Objects }) => {
    const inner = outline(Objects);
    return `${Type} ${Name} [${briefs(Fields).join(" ")}]${inner.length > 0 ? ` { ${inner.join("; ")} }` : ""}`;
  });
}

describe("the difference of a job", () => {
  test("from itself is none, with every group and task named", () => {
    const diff = diffJobs(richJob(), richJob(), true);
    assert.deepEqual(diff, {
      Fields: null,
      ID: "rich",
      Objects: null,
      TaskGroups: ["g", "other"].map((Name) => ({
        Fields: null,
        Name,
        Objects: null,
        Tasks: [
          { Annotations: null, Fields: null, Name: Name === "g" ? "t" : "u", Objects: null, Type: "None" },
        ],
        Type: "None",
        Updates: null,
      })),
      Type: "None",
    });
  });

  test("leaves out what a submitter does not decide", () => {
    const diff = difference((job) => {
      Object.assign(job, {
        CreateIndex: 5,
        ModifyIndex: 6,
        JobModifyIndex: 7,
        Version: 3,
        Stable: true,
        Status: "running",
        StatusDescription: "x",
        SubmitTime: 9,
        NomadTokenID: "n",
        ConsulToken: "secret",
        VaultToken: "secret",
      });
    });
    assert.equal(diff.Type, "None");
    assert.ok(!JSON.stringify(diff).includes("secret"));
  });

  test("refuses two different jobs", () => {
    assert.throws(() => diffJobs(makeJob({ ID: "a" }), makeJob({ ID: "b" }), true), /"a" and "b"/);
  });

  test("shows scalars as text, sorted by name, entries of maps each", () => {
    const diff = difference((job) => {
      job.Priority = 70;
      job.AllAtOnce = true;
      job.Meta = { team: "b" };
      job.ParentID = "";
    });
    assert.deepEqual(briefs(diff.Fields), [
      "~AllAtOnce=false>true",
      "-Meta[owner]=a",
      "+Meta[team]=b",
      "-ParentID=parent",
      "~Priority=50>70",
    ]);
    assert.equal(diff.Type, "Edited");
  });

  test("shows durations in nanoseconds, and one that is not set as empty", () => {
    const diff = difference((_, group) => {
      group.ShutdownDelay = null;
      group.StopAfterClientDisconnect = 3_600_000_000_000;
    });
    assert.deepEqual(briefs(inGroup(diff).Fields), [
      "-ShutdownDelay=1000000000",
      "~StopAfterClientDisconnect=60000000000>3600000000000",
    ]);
  });

  test("shows sets by their elements, in any order", () => {
    const reordered = difference((job) => job.Datacenters.reverse());
    assert.equal(reordered.Type, "None");
    const grown = difference((job) => job.Datacenters.push("dc3"), undefined, true);
    assert.deepEqual(outline(grown.Objects), [
      "Added Datacenters [+Datacenters=dc3  Datacenters=dc1  Datacenters=dc2]",
    ]);
    const exchanged = difference((job) => (job.Datacenters = ["dc2", "dc3"]));
    assert.deepEqual(outline(exchanged.Objects), ["Edited Datacenters [+Datacenters=dc3 -Datacenters=dc1]"]);
    const shrunk = difference((job) => job.Datacenters.pop());
    assert.deepEqual(outline(shrunk.Objects), ["Deleted Datacenters [-Datacenters=dc2]"]);
  });

  test("shows what is unchanged around a change where context is asked", () => {
    const change: Change = (_, group) => (group.RestartPolicy.Attempts = 5);
    assert.deepEqual(outline(inGroup(difference(change)).Objects), ["Edited RestartPolicy [~Attempts=2>5]"]);
    assert.deepEqual(outline(inGroup(difference(change, undefined, true)).Objects), [
      "Edited RestartPolicy [~Attempts=2>5  Delay=15000000000  Interval=60000000000  Mode=fail]",
    ]);
  });

  test("has a changed constraint as one deleted and one added", () => {
    const diff = difference((job) => (job.Constraints![0]!.RTarget = "windows"));
    assert.deepEqual(outline(diff.Objects), [
      "Added Constraint [+LTarget=${attr.kernel.name} +Operand== +RTarget=windows]",
      "Deleted Constraint [-LTarget=${attr.kernel.name} -Operand== -RTarget=linux]",
    ]);
  });

  test("counts equal constraints, and does not mind their order", () => {
    const one: Constraint = { LTarget: "a", Operand: "=", RTarget: "1" };
    const two: Constraint = { ...one, RTarget: "2" };
    const before = changed(richJob(), (job) => (job.Constraints = [one, two, one]));
    const reordered = difference((job) => job.Constraints!.reverse(), before);
    assert.equal(reordered.Type, "None");
    const fewer = difference((job) => job.Constraints!.pop(), before);
    assert.deepEqual(outline(fewer.Objects), ["Deleted Constraint [-LTarget=a -Operand== -RTarget=1]"]);
  });

  test("matches services by name and their checks too", () => {
    const diff = difference((_, group) => {
      group.Services!.reverse();
      const web = group.Services!.find(({ Name }) => Name === "web")!;
      web.Tags = ["a", "c"];
      web.Checks![0]!.Interval = 2e10;
      web.Checks!.push({ ...web.Checks![0]!, Name: "ready", Type: "tcp" });
      web.Checks![0]!.Header = { Authorization: ["y"] };
    });
    const [service, ...others] = inGroup(diff).Objects!;
    assert.deepEqual(others, []);
    assert.equal(service?.Name, "Service");
    assert.equal(service?.Type, "Edited");
    const [tags, alive, ready] = outline(service!.Objects);
    assert.equal(tags, "Edited Tags [+Tags=c -Tags=b]");
    assert.equal(
      alive,
      "Edited Check [~Interval=10000000000>20000000000] { Edited Header [~Authorization[0]=x>y] }",
    );
    assert.match(ready!, /^Added Check \[.*\+Name=ready.*\+Type=tcp/);
  });

  test("goes into Connect, down to an upstream", () => {
    const diff = difference((_, group) => {
      group.Services![0]!.Connect!.SidecarService!.Proxy!.Upstreams![0]!.LocalBindPort = 5433;
    });
    assert.deepEqual(outline(inGroup(diff).Objects), [
      "Edited Service [] { Edited ConsulConnect [] { Edited SidecarService [] { Edited ConsulProxy [] { " +
        "Edited ConsulUpstreams [~LocalBindPort=5432>5433] } } } }",
    ]);
  });

  test("matches ports by label", () => {
    const diff = difference((_, group) => {
      const [network] = group.Networks!;
      network!.ReservedPorts![0]!.Value = 9091;
      const port: Port = { HostNetwork: "default", Label: "grpc", To: 0, Value: 0 };
      network!.DynamicPorts!.unshift(port);
    });
    assert.deepEqual(outline(inGroup(diff).Objects), [
      "Edited Network [] { Edited Static Port [~Value=9090>9091]; Added Dynamic Port [+HostNetwork=default +Label=grpc +To=0] }",
    ]);
  });

  test("goes into a driver's configuration, however deep", () => {
    const diff = difference((_, __, task) => {
      task.Config = { image: "web:2", port_map: [{ http: 8080 }], args: ["a"], extra: null };
    });
    assert.deepEqual(outline(inTask(diff).Objects), [
      "Edited Config [-args[1]=b ~image=web:1>web:2 ~port_map[0][http]=80>8080]",
    ]);
  });

  test("shows volumes, spreads and scaling that changed", () => {
    const diff = difference((_, group) => {
      group.Volumes!.data!.ReadOnly = false;
      group.Spreads![0]!.Weight = 70;
      group.Scaling!.Max = 9;
      group.Scaling!.ID = "another";
      group.Update!.Stagger = 1;
    });
    assert.deepEqual(outline(inGroup(diff).Objects), [
      "Edited Update [~Stagger=30000000000>1]",
      "Edited Volume [~ReadOnly=true>false]",
      "Added Spread [+Attribute=${meta.rack} +Weight=70] { Added SpreadTarget [+Percent=40 +Value=r1] }",
      "Deleted Spread [-Attribute=${meta.rack} -Weight=60] { Deleted SpreadTarget [-Percent=40 -Value=r1] }",
      "Edited Scaling [~Max=5>9]",
    ]);
  });

  test("shows a restart policy at its group, and at a task only where it is the task's own", () => {
    const plain = canonicalizeForState({
      ID: "plain",
      TaskGroups: [{ Name: "g", Tasks: [{ Name: "t", Driver: "raw_exec" }] }],
    });
    const inherited = difference((_, group, task) => {
      group.RestartPolicy.Attempts = 7;
      task.RestartPolicy!.Attempts = 7;
    }, plain);
    assert.deepEqual(outline(inGroup(inherited).Objects), ["Edited RestartPolicy [~Attempts=2>7]"]);
    assert.deepEqual(
      inGroup(inherited).Tasks!.map(({ Type }) => Type),
      ["None"],
    );
    const own = difference((_, __, task) => (task.RestartPolicy!.Attempts = 7));
    assert.deepEqual(outline(inTask(own).Objects), ["Edited RestartPolicy [~Attempts=1>7]"]);
  });

  test("has groups and tasks that come and go, by name", () => {
    const diff = difference((job, group) => {
      job.TaskGroups = [{ ...group, Name: "new" }, group];
      group.Tasks = [{ ...group.Tasks[0]!, Name: "second" }, group.Tasks[0]!];
    });
    assert.deepEqual(
      diff.TaskGroups!.map(({ Name, Type, Tasks }) => [
        Name,
        Type,
        Tasks!.map((task) => `${task.Type} ${task.Name}`),
      ]),
      [
        ["g", "Edited", ["Added second", "None t"]],
        ["new", "Added", ["Added t"]],
        ["other", "Deleted", ["Deleted u"]],
      ],
    );
  });

  test("of a job that goes has everything deleted", () => {
    const diff = diffJobs(richJob(), null, true);
    assert.equal(diff.Type, "Deleted");
    assert.equal(diff.ID, "rich");
    assert.ok(diff.Fields!.every(({ Type, New }) => Type === "Deleted" && New === ""));
    assert.ok(diff.TaskGroups!.every(({ Type }) => Type === "Deleted"));
  });

  test("sees a change of any single value of the specification", () => {
    const unseen: string[] = [];
    for (const path of leaves(richJob(), [])) {
      const after = richJob();
      if (!alter(after, path)) continue;
      if (diffJobs(richJob(), after, false).Type === "None") unseen.push(path.join("."));
    }
    assert.deepEqual(
      unseen
        .map((path) => path.replace(/\d+/g, "#"))
        .filter(unique)
        .sort(),
      NOT_OF_THE_SPECIFICATION,
    );
  });
});

/** What the server decides, what only a node has, and the job-wide copy of what the groups got. */
const NOT_OF_THE_SPECIFICATION = [
  "ConsulToken",
  "CreateIndex",
  "JobModifyIndex",
  "ModifyIndex",
  "NomadTokenID",
  "Stable",
  "Status",
  "StatusDescription",
  "SubmitTime",
  "TaskGroups.#.Networks.#.CIDR",
  "TaskGroups.#.Networks.#.Device",
  "TaskGroups.#.Networks.#.DynamicPorts.#.Value",
  "TaskGroups.#.Networks.#.IP",
  "TaskGroups.#.Scaling.CreateIndex",
  "TaskGroups.#.Scaling.ID",
  "TaskGroups.#.Scaling.ModifyIndex",
  "TaskGroups.#.Scaling.Target.Group",
  "TaskGroups.#.Scaling.Target.Job",
  "TaskGroups.#.Scaling.Target.Namespace",
  "TaskGroups.#.Tasks.#.Resources.Networks.#.CIDR",
  "TaskGroups.#.Tasks.#.Resources.Networks.#.Device",
  "TaskGroups.#.Tasks.#.Resources.Networks.#.DynamicPorts.#.Value",
  "TaskGroups.#.Tasks.#.Resources.Networks.#.IP",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.CreateIndex",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.ID",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.ModifyIndex",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.Target.Group",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.Target.Job",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.Target.Namespace",
  "TaskGroups.#.Tasks.#.ScalingPolicies.#.Target.Task",
  "Update.AutoPromote",
  "Update.AutoRevert",
  "Update.Canary",
  "Update.HealthCheck",
  "Update.HealthyDeadline",
  "Update.MaxParallel",
  "Update.MinHealthyTime",
  "Update.ProgressDeadline",
  "Update.Stagger",
  "VaultToken",
  "Version",
];

const unique = (path: string, at: number, all: string[]): boolean => all.indexOf(path) === at;

function leaves(value: unknown, path: string[]): string[][] {
  if (typeof value !== "object" || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}

/** Changes the value there; false where there is none, or where it is the job's identity. */
function alter(job: Job, path: readonly string[]): boolean {
  const last = path.at(-1)!;
  const holder = path
    .slice(0, -1)
    .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], job) as Record<string, unknown>;
  const value = holder[last];
  if (value === null || path.join(".") === "ID") return false;
  holder[last] =
    typeof value === "string" ? `${value}x` : typeof value === "number" ? value + 1 : value !== true;
  return true;
}

describe("annotations of a difference", () => {
  const counts = (some: object) => ({
    Canary: 0,
    DestructiveUpdate: 0,
    Ignore: 0,
    InPlaceUpdate: 0,
    Migrate: 0,
    Place: 0,
    Preemptions: 0,
    Stop: 0,
    ...some,
  });
  const annotated = (
    before: Job | null,
    after: Job | null,
    desired: Record<string, object> = {},
  ): JobDiff => {
    const diff = diffJobs(before, after, true);
    const all = Object.fromEntries(Object.entries(desired).map(([name, some]) => [name, counts(some)]));
    annotate(diff, before, after, { DesiredTGUpdates: all, PreemptedAllocs: null });
    return diff;
  };

  test("count the updates of a group by kind", () => {
    const kinds = {
      Ignore: 1,
      Place: 2,
      Stop: 3,
      Migrate: 4,
      Canary: 5,
      InPlaceUpdate: 6,
      DestructiveUpdate: 7,
      Preemptions: 8,
    };
    const [g, other] = annotated(richJob(), richJob(), { g: kinds, other: {} }).TaskGroups!;
    assert.deepEqual(g?.Updates, {
      ignore: 1,
      create: 2,
      destroy: 3,
      migrate: 4,
      canary: 5,
      "in-place update": 6,
      "create/destroy update": 7,
      preemptions: 8,
    });
    assert.deepEqual(other?.Updates, {});
  });

  test("of a count say create or destroy", () => {
    const count = (from: number, to: number) => {
      const before = changed(richJob(), (_, group) => (group.Count = from));
      const after = changed(before, (_, group) => (group.Count = to));
      return inGroup(annotated(before, after)).Fields![0]!.Annotations;
    };
    assert.deepEqual(count(1, 3), ["forces create"]);
    assert.deepEqual(count(3, 1), ["forces destroy"]);
    assert.deepEqual(count(9, 10), ["forces create"], "compared as numbers");
    assert.deepEqual(annotated(null, richJob()).TaskGroups![0]!.Fields![0]!.Annotations, ["forces create"]);
    assert.deepEqual(annotated(richJob(), null).TaskGroups![0]!.Fields![0]!.Annotations, ["forces destroy"]);
  });

  const kinds: Record<string, [Change, string]> = {
    "a driver's configuration": [
      (_, __, task) => (task.Config = { image: "web:2" }),
      "forces create/destroy update",
    ],
    memory: [(_, __, task) => (task.Resources.MemoryMB = 65), "forces create/destroy update"],
    "a template": [(_, __, task) => (task.Templates![0]!.EmbeddedTmpl = "y"), "forces create/destroy update"],
    "a kill timeout": [(_, __, task) => (task.KillTimeout = 6e9), "forces in-place update"],
    "log rotation": [(_, __, task) => (task.LogConfig.MaxFiles = 7), "forces in-place update"],
    "a constraint": [(_, __, task) => (task.Constraints = null), "forces in-place update"],
    "a service's tags": [(_, __, task) => (task.Services![0]!.Tags = null), "forces in-place update"],
    "a service's Connect": [
      (_, __, task) => (task.Services![0]!.Connect!.SidecarService!.Port = "x"),
      "forces create/destroy update",
    ],
    "a second task": [
      (_, group, task) => group.Tasks.push({ ...task, Name: "second" }),
      "forces create/destroy update",
    ],
  };
  for (const [what, [change, annotation]] of Object.entries(kinds)) {
    test(`of a task whose change is ${what}: ${annotation}`, () => {
      const before = richJob();
      assert.deepEqual(inTask(annotated(before, changed(before, change))).Annotations, [annotation]);
    });
  }

  test("of a task tell of its own change alone, not of its group's", () => {
    const before = richJob();
    const after = changed(before, (_, group, task) => {
      group.EphemeralDisk.SizeMB = 999;
      task.KillTimeout = 6e9;
    });
    assert.deepEqual(inTask(annotated(before, after)).Annotations, ["forces in-place update"]);
  });

  test("of tasks in groups that come and go are create and destroy; of unchanged ones none", () => {
    const before = richJob();
    const after = changed(before, (job) => (job.TaskGroups[1]!.Name = "new"));
    const of = annotated(before, after).TaskGroups!.map(({ Name, Tasks }) => [Name, Tasks![0]!.Annotations]);
    assert.deepEqual(of, [
      ["g", null],
      ["new", ["forces create"]],
      ["other", ["forces destroy"]],
    ]);
  });
});
