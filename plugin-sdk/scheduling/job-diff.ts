/**
 * What a change of a job means for allocations that run: replaced (destructive) or told of the new version (in place).
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/update and the notes of the job plan command.
 */
import { isDeepStrictEqual } from "node:util";
import { type Job, lookupTaskGroup, type TaskGroup } from "../domain/job.js";
import type { Affinity, Spread } from "../domain/policies.js";
import type { NetworkResource } from "../domain/resources.js";
import type { Service } from "../domain/service.js";
import type { Task } from "../domain/task.js";

/**
 * True when allocations of the group must be replaced to follow from `before` to `after`. In place are: count, constraints,
 * restart, reschedule and migrate policies, the update strategy, priority, services without Connect, kill and shutdown
 * delays, log rotation and scaling. A group that one of the versions doesn't have is a replacement too.
 */
export function tasksUpdated(before: Job, after: Job, groupName: string): boolean {
  const a = lookupTaskGroup(before, groupName);
  const b = lookupTaskGroup(after, groupName);
  if (a === undefined || b === undefined) return true;
  if (a.Tasks.length !== b.Tasks.length) return true;
  if (!same(a.EphemeralDisk, b.EphemeralDisk)) return true;
  if (!same(a.Volumes, b.Volumes)) return true;
  if (!same(a.Consul, b.Consul)) return true;
  if (!same(networks(a.Networks), networks(b.Networks))) return true;
  if (!same(connect(a.Services), connect(b.Services))) return true;
  if (!same(affinities(before, a), affinities(after, b))) return true;
  if (!same(spreads(before, a), spreads(after, b))) return true;
  return a.Tasks.some((task) => {
    const other = b.Tasks.find((candidate) => candidate.Name === task.Name);
    return other === undefined || !same(fixedParts(before, a, task), fixedParts(after, b, other));
  });
}

/** What of a task is fixed once it started. */
function fixedParts(job: Job, group: TaskGroup, task: Task): unknown {
  const { Resources: ask } = task;
  return {
    Driver: task.Driver,
    User: task.User,
    Config: task.Config,
    Env: task.Env,
    Artifacts: task.Artifacts,
    Vault: task.Vault,
    Templates: task.Templates,
    CSIPluginConfig: task.CSIPluginConfig,
    DispatchPayload: task.DispatchPayload,
    Kind: task.Kind,
    Leader: task.Leader,
    Lifecycle: task.Lifecycle,
    VolumeMounts: task.VolumeMounts,
    Meta: { ...job.Meta, ...group.Meta, ...task.Meta },
    Affinities: task.Affinities,
    Connect: connect(task.Services),
    CPU: ask.CPU,
    Cores: ask.Cores,
    MemoryMB: ask.MemoryMB,
    MemoryMaxMB: ask.MemoryMaxMB,
    Devices: ask.Devices,
    Networks: networks(ask.Networks),
  };
}

function networks(list: NetworkResource[] | null): unknown {
  return (list ?? []).map(({ MBits: _, ...network }) => network);
}

function connect(services: Service[] | null): unknown {
  return (services ?? [])
    .filter((service) => service.Connect !== null && service.Connect !== undefined)
    .map((service) => ({ Name: service.Name, PortLabel: service.PortLabel, Connect: service.Connect }));
}

function affinities(job: Job, group: TaskGroup): Affinity[] {
  return [...(job.Affinities ?? []), ...(group.Affinities ?? [])];
}

function spreads(job: Job, group: TaskGroup): Spread[] {
  return [...(job.Spreads ?? []), ...(group.Spreads ?? [])];
}

/** Deep equality in which null, a missing value, and an empty list or object are the same, as the API doesn't tell them apart. */
function same(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(normalize(a), normalize(b));
}

function normalize(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(normalize);
  if (typeof value !== "object" || value === null) return value ?? undefined;
  const entries = Object.entries(value)
    .map(([key, item]) => [key, normalize(item)] as const)
    .filter(([, item]) => item !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
