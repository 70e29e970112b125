/**
 * Placement written down plainly, node by node from the rows themselves: what the engine is measured against. It shares no
 * code with the engine; dimensions that a test doesn't vary (task networks, several tasks with devices) are left out.
 */
import type {
  Allocation,
  Constraint,
  Job,
  Node,
  SchedulerConfiguration,
  TaskGroup,
} from "@drover/plugin-sdk";

/** What a request is judged on. */
export interface Situation {
  readonly configuration: SchedulerConfiguration;
  readonly nodes: readonly Node[];
  /** What runs on a node after the plan so far. */
  running(nodeId: string): readonly Allocation[];
  readonly job: Job;
  readonly group: TaskGroup;
  readonly penalised: ReadonlySet<string>;
}

/** Ready, eligible, not draining, and in one of the job's datacenters. */
export function considered(situation: Situation): Node[] {
  return situation.nodes.filter(
    (node) =>
      node.Status === "ready" &&
      node.SchedulingEligibility === "eligible" &&
      node.DrainStrategy === null &&
      situation.job.Datacenters.includes(node.Datacenter),
  );
}

/** Whether the group may run on the node, whatever room there is. */
export function feasible(situation: Situation, node: Node): boolean {
  const { job, group } = situation;
  const drivers = group.Tasks.every(({ Driver }) => {
    const reported = node.Drivers[Driver];
    if (reported !== undefined) return reported.Detected && reported.Healthy;
    return node.Attributes[`driver.${Driver}`] === "1";
  });
  const rules = [
    ...(job.Constraints ?? []),
    ...(group.Constraints ?? []),
    ...(group.Tasks[0]!.Constraints ?? []),
  ];
  const ofJob = situation.nodes.flatMap((one) =>
    situation.running(one.ID).filter((allocation) => allocation.JobID === job.ID),
  );
  return (
    drivers &&
    rules.every((rule) => satisfied(rule, node, situation.nodes, ofJob)) &&
    kindsOf(group, node).some((kind) => kind.instances.length >= kind.wanted)
  );
}

function satisfied(
  rule: Constraint,
  node: Node,
  nodes: readonly Node[],
  ofJob: readonly Allocation[],
): boolean {
  const left = lookUp(rule.LTarget, node);
  const right = rule.RTarget;
  switch (rule.Operand) {
    case "distinct_hosts":
      return !ofJob.some((allocation) => allocation.NodeID === node.ID);
    case "distinct_property": {
      const there = ofJob.filter(
        (allocation) => lookUp(rule.LTarget, nodes.find((one) => one.ID === allocation.NodeID)!) === left,
      );
      return left !== undefined && there.length < Number(right || "1");
    }
    case "is_set":
      return left !== undefined;
    case "is_not_set":
      return left === undefined;
    case "!=":
    case "not":
      return left !== right;
  }
  if (left === undefined) return false;
  const parts = (text: string) => text.split(",").map((part) => part.trim());
  switch (rule.Operand) {
    case "=":
    case "==":
    case "is":
      return left === right;
    case "<":
      return Number(left) < Number(right);
    case "<=":
      return Number(left) <= Number(right);
    case ">":
      return Number(left) > Number(right);
    case ">=":
      return Number(left) >= Number(right);
    case "regexp":
      return left.match(right) !== null;
    case "version":
    case "semver": {
      // The cases have conditions ">= a.b.c" alone.
      const number = (text: string) => text.split(".").reduce((sum, part) => sum * 1000 + Number(part), 0);
      return number(left) >= number(right.replace(">= ", ""));
    }
    case "set_contains":
    case "set_contains_all":
      return parts(right).every((part) => parts(left).includes(part));
    case "set_contains_any":
      return parts(right).some((part) => parts(left).includes(part));
  }
  throw new Error(`the reference doesn't know the operand ${rule.Operand}`);
}

function lookUp(target: string, node: Node): string | undefined {
  const name = target.slice(2, -1);
  if (name === "node.datacenter") return node.Datacenter;
  if (name === "node.class") return node.NodeClass;
  if (name === "node.unique.id") return node.ID;
  if (name === "node.unique.name") return node.Name;
  if (name.startsWith("meta.")) return node.Meta?.[name.slice(5)];
  return node.Attributes[name.slice(5)];
}

/** Kinds of devices that satisfy the group's one request, with healthy instances; one free kind where it asks for none. */
function kindsOf(group: TaskGroup, node: Node): { instances: string[]; wanted: number; liked: number }[] {
  const ask = group.Tasks[0]!.Resources.Devices?.[0];
  if (ask === undefined) return [{ instances: [], wanted: 0, liked: 0 }];
  const mebibytes = (text: string) => Number.parseFloat(text) * (text.endsWith("GiB") ? 1024 : 1);
  return (node.NodeResources.Devices ?? [])
    .filter((device) =>
      (ask.Constraints ?? []).every(
        // The cases ask for "${device.attr.memory} >= N MiB" alone.
        (rule) => device.Attributes!.memory!.Int! * 1024 >= mebibytes(rule.RTarget),
      ),
    )
    .map((device) => ({
      instances: device.Instances.filter((one) => one.Healthy).map((one) => one.ID),
      wanted: ask.Count,
      // The affinities of the cases name the model.
      liked: (ask.Affinities ?? []).reduce(
        (sum, rule) => sum + (rule.RTarget === device.Name ? rule.Weight : 0),
        0,
      ),
    }));
}

/** MHz and MiB at the peak: tasks before the main ones end before those start. */
function peak(tasks: readonly { hook: string; cpu: number; memory: number }[]): {
  cpu: number;
  memory: number;
} {
  const sum = (hook: string, of: "cpu" | "memory") =>
    tasks.filter((task) => task.hook === hook).reduce((total, task) => total + task[of], 0);
  return {
    cpu: Math.max(sum("prestart", "cpu"), sum("", "cpu")),
    memory: Math.max(sum("prestart", "memory"), sum("", "memory")),
  };
}

function heldBy(allocation: Allocation): { cpu: number; memory: number } {
  return peak(
    Object.entries(allocation.AllocatedResources.Tasks).map(([name, task]) => ({
      hook: allocation.AllocatedResources.TaskLifecycles[name]?.Hook ?? "",
      cpu: task.Cpu.CpuShares,
      memory: task.Memory.MemoryMB,
    })),
  );
}

function askOf(group: TaskGroup, node: Node): { cpu: number; memory: number } {
  const core = Math.floor(node.NodeResources.Cpu.CpuShares / node.NodeResources.Cpu.TotalCpuCores);
  return peak(
    group.Tasks.map((task) => ({
      hook: task.Lifecycle?.Hook ?? "",
      cpu: task.Resources.Cores > 0 ? task.Resources.Cores * core : task.Resources.CPU,
      memory: task.Resources.MemoryMB,
    })),
  );
}

const coresOf = (allocation: Allocation) =>
  Object.values(allocation.AllocatedResources.Tasks).flatMap((task) => task.Cpu.ReservedCores ?? []);
const portsOf = (allocation: Allocation) =>
  (allocation.AllocatedResources.Shared.Ports ?? []).map((port) => port.Value);
const devicesOf = (allocation: Allocation) =>
  Object.values(allocation.AllocatedResources.Tasks).flatMap((task) =>
    (task.Devices ?? []).flatMap((device) => device.DeviceIDs),
  );

/** What the node has more of than these use; a negative or double use of anything is an overcommit. */
export function overcommit(node: Node, running: readonly Allocation[]): string {
  const left = room(node, running);
  if (left.cpu < 0 || left.memory < 0 || left.disk < 0) return JSON.stringify(left);
  for (const of of [coresOf, portsOf, devicesOf]) {
    const held: (string | number)[] = running.flatMap<string | number>(of);
    if (new Set(held).size !== held.length) return `held twice: ${held.join(", ")}`;
  }
  const cores = running
    .flatMap(coresOf)
    .filter((core) => !node.NodeResources.Cpu.ReservableCpuCores!.includes(core));
  return cores.length > 0 ? `no such core: ${cores.join(", ")}` : "";
}

function room(node: Node, running: readonly Allocation[]): { cpu: number; memory: number; disk: number } {
  const { NodeResources: has, ReservedResources: kept } = node;
  const left = {
    cpu: has.Cpu.CpuShares - kept.Cpu.CpuShares,
    memory: has.Memory.MemoryMB - kept.Memory.MemoryMB,
    disk: has.Disk.DiskMB - kept.Disk.DiskMB,
  };
  for (const allocation of running) {
    const use = heldBy(allocation);
    left.cpu -= use.cpu;
    left.memory -= use.memory;
    left.disk -= allocation.AllocatedResources.Shared.DiskMB;
  }
  return left;
}

/** Whether one more allocation of the group has room beside these. */
export function fits(group: TaskGroup, node: Node, running: readonly Allocation[]): boolean {
  const left = room(node, running);
  const ask = askOf(group, node);
  if (ask.cpu > left.cpu || ask.memory > left.memory || group.EphemeralDisk.SizeMB > left.disk) return false;
  const cores = node.NodeResources.Cpu.ReservableCpuCores!.length - running.flatMap(coresOf).length;
  if (group.Tasks.reduce((sum, task) => sum + task.Resources.Cores, 0) > cores) return false;
  const taken = new Set(running.flatMap(portsOf));
  const reserved = node.ReservedResources.Networks.ReservedHostPorts;
  if (reserved !== "") taken.add(Number(reserved));
  const network = group.Networks?.[0];
  if ((network?.ReservedPorts ?? []).some((port) => taken.has(port.Value))) return false;
  let dynamic = 0;
  for (let port = node.NodeResources.MinDynamicPort!; port <= node.NodeResources.MaxDynamicPort!; port++)
    if (!taken.has(port)) dynamic++;
  if ((network?.DynamicPorts ?? []).length > dynamic) return false;
  return freeKinds(group, node, running).length > 0;
}

function freeKinds(group: TaskGroup, node: Node, running: readonly Allocation[]): { liked: number }[] {
  const held = new Set(running.flatMap(devicesOf));
  return kindsOf(group, node).filter(
    (kind) => kind.instances.filter((id) => !held.has(id)).length >= kind.wanted,
  );
}

/** Mean of the scores that count, of a node the group fits on. `preemption` is the score of what had to go. */
export function score(
  situation: Situation,
  node: Node,
  running: readonly Allocation[],
  preemption?: number,
): number {
  const { job, group, configuration } = situation;
  const left = room(node, running);
  const ask = askOf(group, node);
  const total = room(node, []);
  const free = (of: "cpu" | "memory") => (total[of] > 0 ? (left[of] - ask[of]) / total[of] : 0);
  const powers = 10 ** free("cpu") + 10 ** free("memory");
  const raw = configuration.SchedulerAlgorithm === "spread" ? powers - 2 : 20 - powers;
  const scores = [Math.min(18, Math.max(0, raw)) / 18];

  const same = running.filter((one) => one.JobID === job.ID && one.TaskGroup === group.Name).length;
  if (same > 0) scores.push(-(same + 1) / group.Count);
  if (situation.penalised.has(node.ID)) scores.push(-1);

  const affinities = [
    ...(job.Affinities ?? []),
    ...(group.Affinities ?? []),
    ...(group.Tasks[0]!.Affinities ?? []),
  ];
  const weights = affinities.reduce((sum, one) => sum + Math.abs(one.Weight), 0);
  const liked = affinities
    .filter((one) => satisfied(one, node, situation.nodes, []))
    .reduce((sum, one) => sum + one.Weight / weights, 0);
  if (Math.abs(liked) > 1e-12) scores.push(liked);

  const spread = spreadOf(situation, node);
  if (spread !== 0) scores.push(spread);

  const wanted = group.Tasks[0]!.Resources.Devices?.[0]?.Affinities ?? [];
  if (wanted.length > 0) {
    const most = Math.max(...freeKinds(group, node, running).map((kind) => kind.liked));
    scores.push(most / wanted.reduce((sum, one) => sum + Math.abs(one.Weight), 0));
  }
  if (preemption !== undefined) scores.push(preemption);
  return scores.reduce((sum, one) => sum + one, 0) / scores.length;
}

function spreadOf(situation: Situation, node: Node): number {
  const { job, group } = situation;
  const spreads = [...(group.Spreads ?? []), ...(job.Spreads ?? [])];
  const weights = spreads.reduce((sum, spread) => sum + spread.Weight, 0);
  return spreads.reduce((sum, spread) => {
    const value = lookUp(spread.Attribute, node);
    if (value === undefined) return sum - 1;
    const counts = new Map<string, number>();
    for (const one of situation.nodes) {
      const there = lookUp(spread.Attribute, one);
      const number = situation
        .running(one.ID)
        .filter((allocation) => allocation.JobID === job.ID && allocation.TaskGroup === group.Name).length;
      if (there !== undefined && number > 0) counts.set(there, (counts.get(there) ?? 0) + number);
    }
    const has = counts.get(value) ?? 0;
    if (spread.SpreadTarget !== null) {
      const named = spread.SpreadTarget.reduce((total, target) => total + target.Percent, 0);
      const percent = spread.SpreadTarget.find((target) => target.Value === value)?.Percent ?? 100 - named;
      if (percent <= 0) return sum - 1;
      const desired = (percent / 100) * group.Count;
      return sum + ((desired - has - 1) / desired) * (spread.Weight / weights);
    }
    if (counts.size === 0) return sum;
    const least = Math.min(...counts.values());
    const most = Math.max(...counts.values());
    if (has !== least) return sum + (least - has) / least;
    return sum + (least === most ? -1 : (most - least) / least);
  }, 0);
}
