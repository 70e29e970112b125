/** Devices that tasks ask for: what matches, what is taken, how much it is liked. */
import type { Node, NodeDeviceResource, RequestedDevice, TaskGroup } from "@drover/plugin-sdk";
import { compare, type Rule } from "./constraints.js";
import { instanceName } from "./holdings.js";

const BYTES: Readonly<Record<string, number>> = { MB: 1e6, GB: 1e9, MiB: 2 ** 20, GiB: 2 ** 30 };

function deviceValue(target: string, device: NodeDeviceResource): string | undefined {
  const name = /^\$\{(.*)\}$/.exec(target)?.[1];
  if (name === undefined) return target;
  if (name === "device.vendor") return device.Vendor;
  if (name === "device.type") return device.Type;
  if (name === "device.model") return device.Name;
  const attribute = device.Attributes?.[name.replace(/^device\.attr\./, "")];
  if (attribute === undefined) return undefined;
  return `${attribute.Int ?? attribute.String} ${attribute.Unit ?? ""}`.trim();
}

/** A number of bytes as a text of digits; other texts as they are. */
function inBytes(text: string | undefined): string | undefined {
  const [, number, unit = ""] = /^(\d+) ?(\w+)$/.exec(text ?? "") ?? [];
  return BYTES[unit] === undefined ? text : String(Number(number) * BYTES[unit]);
}

export function deviceRuleHolds(rule: Rule, device: NodeDeviceResource): boolean {
  const side = (target: string): string | undefined => inBytes(deviceValue(target, device));
  return compare(side(rule.LTarget), rule.Operand, side(rule.RTarget));
}

export function matches(ask: RequestedDevice, device: NodeDeviceResource): boolean {
  const { Vendor, Type, Name } = device;
  const names = [Type, `${Vendor}/${Type}`, `${Vendor}/${Type}/${Name}`];
  return names.includes(ask.Name) && (ask.Constraints ?? []).every((rule) => deviceRuleHolds(rule, device));
}

export function asksOf(group: TaskGroup): RequestedDevice[] {
  return group.Tasks.flatMap((task) => task.Resources.Devices ?? []);
}

/** Sum of the weights of all device affinities of a group; 0 where it has none. */
export function affinityWeight(group: TaskGroup): number {
  return asksOf(group)
    .flatMap((ask) => ask.Affinities ?? [])
    .reduce((sum, { Weight }) => sum + Math.abs(Weight), 0);
}

/**
 * Gives one ask after the other what it likes best of the devices that match and have enough instances left, the first
 * where two are liked alike; null when an ask gets nothing. `liked` is the weight of the affinities that hold.
 */
export function takeDevices(
  group: TaskGroup,
  node: Node,
  held: readonly string[],
): { readonly liked: number; readonly taken: readonly string[] } | null {
  const taken: string[] = [];
  let liked = 0;
  for (const ask of asksOf(group)) {
    const offers = (node.NodeResources.Devices ?? [])
      .filter((device) => matches(ask, device))
      .map((device) => ({
        likes: (ask.Affinities ?? [])
          .filter((rule) => deviceRuleHolds(rule, device))
          .reduce((sum, { Weight }) => sum + Weight, 0),
        free: device.Instances.filter((one) => one.Healthy)
          .map((one) => instanceName(device, one.ID))
          .filter((name) => !held.includes(name) && !taken.includes(name)),
      }))
      .filter(({ free }) => free.length >= ask.Count)
      .sort((a, b) => b.likes - a.likes);
    const [best] = offers;
    if (best === undefined) return null;
    taken.push(...best.free.slice(0, ask.Count));
    liked += best.likes;
  }
  return { liked, taken };
}
