/** What tasks ask of devices: names, constraints and affinities (https://developer.hashicorp.com/nomad/docs/job-specification/device). */
import type { TaskGroup } from "../domain/job.js";
import type { Constraint } from "../domain/policies.js";
import type { Attribute, RequestedDevice } from "../domain/resources.js";
import { checkConstraint, ordered } from "./constraints.js";
import { parseTarget } from "./interpolate.js";
import type { DeviceFact } from "./node-facts.js";
import { compareQuantities } from "./units.js";

/** Equal devices, on a node or as its facts tell them. */
export interface DeviceKind {
  readonly Vendor: string;
  readonly Type: string;
  readonly Name: string;
  readonly Attributes: Readonly<Record<string, Attribute>> | null;
}

type Rule = Pick<Constraint, "LTarget" | "Operand" | "RTarget">;

/** All devices that the tasks of a group ask for. */
export function deviceAsks(group: TaskGroup): RequestedDevice[] {
  return group.Tasks.flatMap((task) => task.Resources.Devices ?? []);
}

/** Whether the name and the constraints of the ask hold for the devices. */
export function deviceMatches(ask: RequestedDevice, device: DeviceKind): boolean {
  return (
    matchesName(ask.Name, device) && (ask.Constraints ?? []).every((rule) => deviceRuleHolds(rule, device))
  );
}

/** Sum of the weights of the affinities of the ask that hold for the devices. */
export function deviceAffinity(ask: RequestedDevice, device: DeviceKind): number {
  let sum = 0;
  for (const affinity of ask.Affinities ?? []) if (deviceRuleHolds(affinity, device)) sum += affinity.Weight;
  return sum;
}

/** What the sum of matching affinities is divided by for the score `devices`; 0: the group has no device affinities. */
export function deviceAffinityWeight(group: TaskGroup): number {
  let sum = 0;
  for (const ask of deviceAsks(group)) for (const { Weight } of ask.Affinities ?? []) sum += Math.abs(Weight);
  return sum;
}

/**
 * What an ask is given of these devices, of which so many instances each are `free`: those that match and suffice, that its
 * affinities like best, the first of several; -1 when there are none.
 */
export function chooseDevice(
  ask: RequestedDevice,
  devices: readonly DeviceKind[],
  free: (at: number) => number,
): { readonly at: number; readonly liked: number } {
  let at = -1;
  let liked = Number.NEGATIVE_INFINITY;
  for (const [i, device] of devices.entries()) {
    if (free(i) < ask.Count || !deviceMatches(ask, device)) continue;
    const affinity = deviceAffinity(ask, device);
    if (affinity <= liked) continue;
    at = i;
    liked = affinity;
  }
  return { at, liked };
}

/** Whether a node with these devices gives all asks what they want, one after the other, while nothing else runs there. */
export function devicesFeasible(asks: readonly RequestedDevice[], facts: readonly DeviceFact[]): boolean {
  const free = facts.map((fact) => fact.Healthy);
  return asks.every((ask) => {
    const { at } = chooseDevice(ask, facts, (i) => free[i]!);
    if (at >= 0) free[at]! -= ask.Count;
    return at >= 0;
  });
}

/** Whether a constraint or an affinity holds; numbers with units compare by what they measure. */
export function deviceRuleHolds(rule: Rule, device: DeviceKind): boolean {
  const left = deviceValue(rule.LTarget, device);
  const right = deviceValue(rule.RTarget, device);
  const order = left === undefined || right === undefined ? null : compareQuantities(left, right);
  if (order !== null) {
    switch (rule.Operand) {
      case "=":
      case "==":
      case "is":
        return order === 0;
      case "!=":
      case "not":
        return order !== 0;
      case "<":
      case "<=":
      case ">":
      case ">=":
        return ordered(rule.Operand, order);
    }
  }
  return checkConstraint(rule.Operand, left, right);
}

/** `<type>`, `<vendor>/<type>` or `<vendor>/<type>/<name>`; a name may itself contain slashes. */
function matchesName(name: string, device: DeviceKind): boolean {
  return (
    name === device.Type ||
    name === `${device.Vendor}/${device.Type}` ||
    name === `${device.Vendor}/${device.Type}/${device.Name}`
  );
}

function deviceValue(target: string, device: DeviceKind): string | undefined {
  const parsed = parseTarget(target);
  if ("literal" in parsed) return parsed.literal;
  switch (parsed.key) {
    case "device.type":
      return device.Type;
    case "device.vendor":
      return device.Vendor;
    case "device.model":
      return device.Name;
  }
  if (!parsed.key.startsWith("device.attr.")) return undefined;
  const name = parsed.key.slice("device.attr.".length);
  const attributes = device.Attributes ?? {};
  const attribute = Object.hasOwn(attributes, name) ? attributes[name] : undefined;
  const value = attribute?.String ?? attribute?.Int ?? attribute?.Float ?? attribute?.Bool;
  if (value === undefined || value === null) return undefined;
  return attribute?.Unit ? `${value} ${attribute.Unit}` : String(value);
}
