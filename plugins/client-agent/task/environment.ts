/** A task's environment (https://developer.hashicorp.com/nomad/docs/runtime/environment). */
import {
  type AllocatedPortMapping,
  type Allocation,
  allocIndexOf,
  type Job,
  lookupTaskGroup,
  type NetworkResource,
  type Node,
  type Task,
} from "@drover/plugin-sdk";
import type { TaskFolders } from "./folders.js";
import { type Interpolation, interpolate } from "./interpolate.js";

export interface EnvironmentInput {
  readonly allocation: Allocation;
  readonly job: Job;
  readonly task: Task;
  readonly node: Node;
  readonly region: string;
  readonly folders: TaskFolders;
}

/** The NOMAD_ variables and the task's `env` block, and what `${…}` means in the rest of the task. */
export function buildEnvironment(input: EnvironmentInput): Interpolation {
  const { allocation, job, task, node } = input;
  const group = lookupTaskGroup(job, allocation.TaskGroup);
  const held = allocation.AllocatedResources.Tasks[task.Name];
  const env: Record<string, string> = {
    NOMAD_ALLOC_ID: allocation.ID,
    NOMAD_ALLOC_NAME: allocation.Name,
    NOMAD_ALLOC_INDEX: String(allocIndexOf(allocation.Name)),
    NOMAD_TASK_NAME: task.Name,
    NOMAD_GROUP_NAME: allocation.TaskGroup,
    NOMAD_JOB_ID: job.ID,
    NOMAD_JOB_NAME: job.Name,
    NOMAD_DC: node.Datacenter,
    NOMAD_REGION: input.region,
    NOMAD_NAMESPACE: allocation.Namespace,
    NOMAD_ALLOC_DIR: input.folders.shared,
    NOMAD_TASK_DIR: input.folders.local,
    NOMAD_SECRETS_DIR: input.folders.secrets,
    NOMAD_CPU_LIMIT: String(held?.Cpu.CpuShares ?? task.Resources.CPU),
    NOMAD_MEMORY_LIMIT: String(held?.Memory.MemoryMB ?? task.Resources.MemoryMB),
  };
  if (job.ParentID !== "") env.NOMAD_JOB_PARENT_ID = job.ParentID;
  const memoryMax = held?.Memory.MemoryMaxMB ?? 0;
  if (memoryMax > 0) env.NOMAD_MEMORY_MAX_LIMIT = String(memoryMax);
  const cores = held?.Cpu.ReservedCores ?? [];
  if (cores.length > 0) env.NOMAD_CPU_CORES = formatCores(cores);

  const facts = { ...nodeFacts(node), "node.region": input.region };
  const base: Interpolation = { env, facts };
  for (const meta of [job.Meta, group?.Meta, task.Meta]) {
    for (const [key, value] of Object.entries(meta ?? {})) {
      const text = interpolate(value, base);
      env[`NOMAD_META_${key}`] = text;
      env[`NOMAD_META_${key.toUpperCase()}`] = text;
    }
  }
  addGroupPorts(env, allocation.AllocatedResources.Shared.Ports ?? []);
  for (const [name, resources] of Object.entries(allocation.AllocatedResources.Tasks)) {
    for (const network of resources.Networks ?? []) addTaskNetwork(env, network, name, name === task.Name);
  }
  for (const [key, value] of Object.entries(task.Env ?? {})) {
    env[interpolate(key, base)] = interpolate(value, base);
  }
  return { env: cleanNames(env), facts };
}

/** Every character that a variable's name can't have becomes an underscore. */
function cleanNames(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name.replace(/[^A-Za-z0-9_]/g, "_"), value]),
  );
}

function addGroupPorts(env: Record<string, string>, ports: readonly AllocatedPortMapping[]): void {
  for (const { Label, HostIP, Value, To } of ports) {
    const inside = String(To > 0 ? To : Value);
    env[`NOMAD_IP_${Label}`] = HostIP;
    env[`NOMAD_PORT_${Label}`] = inside;
    env[`NOMAD_ADDR_${Label}`] = joinAddress(HostIP, Value);
    env[`NOMAD_ALLOC_PORT_${Label}`] = inside;
    env[`NOMAD_HOST_IP_${Label}`] = HostIP;
    env[`NOMAD_HOST_PORT_${Label}`] = String(Value);
    env[`NOMAD_HOST_ADDR_${Label}`] = joinAddress(HostIP, Value);
  }
}

/** Ports of a task's own network (the form before group networks); other tasks of the group see them by its name. */
function addTaskNetwork(
  env: Record<string, string>,
  network: NetworkResource,
  task: string,
  own: boolean,
): void {
  for (const { Label, Value } of [...(network.ReservedPorts ?? []), ...(network.DynamicPorts ?? [])]) {
    const label = own ? Label : `${task}_${Label}`;
    env[`NOMAD_IP_${label}`] = network.IP;
    env[`NOMAD_PORT_${label}`] = String(Value);
    env[`NOMAD_ADDR_${label}`] = joinAddress(network.IP, Value);
    if (own) env[`NOMAD_HOST_PORT_${label}`] = String(Value);
  }
}

function joinAddress(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** `0-2,7`. */
function formatCores(cores: readonly number[]): string {
  const sorted = [...cores].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const core of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && core === last[1] + 1) last[1] = core;
    else ranges.push([core, core]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(",");
}

function nodeFacts(node: Node): Record<string, string> {
  const facts: Record<string, string> = {
    "node.unique.id": node.ID,
    "node.unique.name": node.Name,
    "node.datacenter": node.Datacenter,
    "node.class": node.NodeClass,
  };
  for (const [key, value] of Object.entries(node.Attributes)) facts[`attr.${key}`] = value;
  for (const [key, value] of Object.entries(node.Meta ?? {})) facts[`meta.${key}`] = value;
  return facts;
}
