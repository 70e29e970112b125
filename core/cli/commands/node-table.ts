import type { NodeListStub } from "@drover/plugin-sdk";
import { columns, shortId } from "../format.js";

/** Nodes as `node status` lists them; `running` adds how many allocations each runs. */
export function nodeTable(
  nodes: readonly NodeListStub[],
  options: { readonly verbose: boolean; readonly running?: ReadonlyMap<string, number> },
): string {
  const { verbose, running } = options;
  return columns([
    [
      "ID",
      "DC",
      "Name",
      "Class",
      ...(verbose ? ["Address", "Version"] : []),
      "Drain",
      "Eligibility",
      "Status",
      ...(running === undefined ? [] : ["Running Allocs"]),
    ],
    ...nodes.map((node) => [
      shortId(node.ID, verbose),
      node.Datacenter,
      node.Name,
      node.NodeClass,
      ...(verbose ? [node.Address, node.Version] : []),
      String(node.Drain),
      node.SchedulingEligibility,
      node.Status,
      ...(running === undefined ? [] : [String(running.get(node.ID) ?? 0)]),
    ]),
  ]);
}
