/** Which nodes can take a group at all, and which its distinct rules keep out. */
import type { Allocation, Constraint, Job, Node, TaskGroup } from "@drover/plugin-sdk";
import { holds, resolve } from "./constraints.js";
import { takeDevices } from "./devices.js";
import { addresses, holdsResources } from "./holdings.js";

/** Whether schedulers look at the node: ready, eligible, not draining, in a datacenter of the job. */
export function isLookedAt(node: Node, job: Job): boolean {
  return (
    node.Status === "ready" &&
    node.SchedulingEligibility === "eligible" &&
    node.DrainStrategy === null &&
    job.Datacenters.includes(node.Datacenter)
  );
}

export function constraintsOf(job: Job, group: TaskGroup): Constraint[] {
  return [job, group, ...group.Tasks].flatMap((owner) => owner.Constraints ?? []);
}

/** Whether the node could take the group if nothing ran there. */
export function canHost(node: Node, job: Job, group: TaskGroup): boolean {
  return (
    constraintsOf(job, group)
      .filter(({ Operand }) => !Operand.startsWith("distinct_"))
      .every((rule) => holds(rule, node)) &&
    group.Tasks.every((task) => hasDriver(node, task.Driver)) &&
    hasVolumes(node, group) &&
    hasNetworks(node, group) &&
    takeDevices(group, node, []) !== null
  );
}

/** What the node reports of the driver decides; where it reports nothing, its attribute does. */
function hasDriver(node: Node, name: string): boolean {
  const reported = node.Drivers[name];
  if (reported !== undefined) return reported.Detected && reported.Healthy;
  return ["1", "true"].includes(node.Attributes[`driver.${name}`] ?? "");
}

function hasVolumes(node: Node, group: TaskGroup): boolean {
  return Object.values(group.Volumes ?? {}).every((asked) => {
    const offered = node.HostVolumes?.[asked.Source];
    return offered !== undefined && (asked.ReadOnly || !offered.ReadOnly);
  });
}

function hasNetworks(node: Node, group: TaskGroup): boolean {
  const network = group.Networks?.[0];
  if (network === undefined) return true;
  const { Networks, NodeNetworks } = node.NodeResources;
  const modes = [...(Networks ?? []), ...(NodeNetworks ?? [])].map((one) => one.Mode);
  const everywhere = ["", "host", "none"];
  if (!everywhere.includes(network.Mode) && !modes.includes(network.Mode)) return false;
  const aliases = addresses(node).map((one) => one.Alias);
  return [...(network.ReservedPorts ?? []), ...(network.DynamicPorts ?? [])]
    .map((port) => port.HostNetwork)
    .every((name) => name === "" || name === "default" || aliases.includes(name));
}

/** Whether the distinct rules of job and group let the node have one more of the group. */
export function isDistinct(
  node: Node,
  job: Job,
  group: TaskGroup,
  nodes: readonly Node[],
  all: readonly Allocation[],
): boolean {
  const ofJob = all.filter(
    (one) => holdsResources(one) && one.JobID === job.ID && one.Namespace === job.Namespace,
  );
  const ofGroup = ofJob.filter((one) => one.TaskGroup === group.Name);
  const rules = [
    ...(job.Constraints ?? []).map((rule) => ({ rule, among: ofJob })),
    ...(group.Constraints ?? []).map((rule) => ({ rule, among: ofGroup })),
  ];
  return rules.every(({ rule, among }) => {
    if (rule.Operand === "distinct_hosts")
      return rule.RTarget === "false" || !among.some((one) => one.NodeID === node.ID);
    if (rule.Operand !== "distinct_property") return true;
    const value = resolve(rule.LTarget, node);
    if (value === undefined) return false;
    const limit = rule.RTarget === "" ? 1 : Number(rule.RTarget);
    const sharing = among.filter((one) => {
      const other = nodes.find(({ ID }) => ID === one.NodeID);
      return other !== undefined && resolve(rule.LTarget, other) === value;
    });
    return sharing.length < limit;
  });
}
