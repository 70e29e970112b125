import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job, Task, TaskGroup } from "@drover/plugin-sdk";
import { tasksUpdated } from "@drover/plugin-sdk/scheduling";
import { makeJob } from "@drover/plugin-sdk/testing";

type Change = (job: Job, group: TaskGroup, task: Task) => void;

function changed(change: Change): boolean {
  const before = makeJob();
  const after = structuredClone(before);
  change(after, after.TaskGroups[0]!, after.TaskGroups[0]!.Tasks[0]!);
  return tasksUpdated(before, after, "g");
}

describe("a new version of a job", () => {
  const destructive: Record<string, Change> = {
    driver: (_, __, task) => (task.Driver = "exec"),
    config: (_, __, task) => (task.Config = { command: "/bin/false" }),
    env: (_, __, task) => (task.Env = { A: "1" }),
    user: (_, __, task) => (task.User = "nobody"),
    cpu: (_, __, task) => (task.Resources.CPU = 101),
    memory: (_, __, task) => (task.Resources.MemoryMB = 65),
    "job meta": (job) => (job.Meta = { a: "1" }),
    "group meta": (_, group) => (group.Meta = { a: "1" }),
    disk: (_, group) => (group.EphemeralDisk.SizeMB = 301),
    "a second task": (_, group, task) => group.Tasks.push({ ...task, Name: "u" }),
    "another task name": (_, __, task) => (task.Name = "u"),
    spreads: (_, group) => (group.Spreads = [{ Attribute: "${meta.rack}", SpreadTarget: null, Weight: 50 }]),
    lifecycle: (_, __, task) => (task.Lifecycle = { Hook: "prestart", Sidecar: true }),
    "the group's name": (_, group) => (group.Name = "h"),
  };
  const inPlace: Record<string, Change> = {
    nothing: () => {},
    count: (_, group) => (group.Count = 7),
    constraints: (_, group) => (group.Constraints = [{ LTarget: "a", Operand: "=", RTarget: "a" }]),
    "restart policy": (_, group) => (group.RestartPolicy.Attempts = 9),
    "reschedule policy": (_, group) => (group.ReschedulePolicy = null),
    priority: (job) => (job.Priority = 90),
    "kill timeout": (_, __, task) => (task.KillTimeout = 1),
    "an empty list for none": (_, __, task) => (task.Artifacts = []),
    "legacy bandwidth": (_, group) => (group.Networks = null),
  };
  for (const [name, change] of Object.entries(destructive)) {
    it(`replaces allocations for ${name}`, () => assert.equal(changed(change), true));
  }
  for (const [name, change] of Object.entries(inPlace)) {
    it(`updates allocations in place for ${name}`, () => assert.equal(changed(change), false));
  }
});
