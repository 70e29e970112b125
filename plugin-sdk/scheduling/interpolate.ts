/**
 * Targets of constraints, affinities and spreads: `${attr.kernel.name}`, `${meta.rack}`, `${node.datacenter}`,
 * `${node.class}`, `${node.unique.id}`, `${node.unique.name}`; anything else is the text itself.
 * Source: https://developer.hashicorp.com/nomad/docs/runtime/interpolation#node-variables
 */
import type { NodeColumns } from "../contracts/scheduler.js";
import type { Node } from "../domain/node.js";
import { nodeFact } from "./node-facts.js";

/** Either the name of a column (without `${}`) or a text that is the same for every node. */
export type Target = { readonly key: string } | { readonly literal: string };

const INTERPOLATION = /^\$\{\s*([^\s}]+)\s*\}$/;

export function parseTarget(target: string): Target {
  const match = INTERPOLATION.exec(target);
  return match === null ? { literal: target } : { key: match[1]! };
}

/** The value of a target on a node; undefined where the node has none. */
export function resolveOnNode(target: string, node: Node): string | undefined {
  const parsed = parseTarget(target);
  return "literal" in parsed ? parsed.literal : nodeValue(node, parsed.key);
}

/** The value of a column's key on a node: what the columns of the state store hold. */
export function nodeValue(node: Node, key: string): string | undefined {
  if (key.startsWith("attr.")) return own(node.Attributes, key.slice("attr.".length));
  if (key.startsWith("meta.")) return own(node.Meta, key.slice("meta.".length));
  switch (key) {
    case "node.datacenter":
      return node.Datacenter;
    case "node.class":
      return node.NodeClass;
    case "node.computed_class":
      return node.ComputedClass;
    case "node.unique.id":
      return node.ID;
    case "node.unique.name":
      return node.Name;
    default:
      return nodeFact(node, key);
  }
}

/** The value of a target in a row of the columns; undefined where the node has none. */
export function resolveInRow(target: string, columns: NodeColumns, row: number): string | undefined {
  const parsed = parseTarget(target);
  if ("literal" in parsed) return parsed.literal;
  return columns.values(parsed.key)[columns.codes(parsed.key)[row] ?? 0];
}

/** Whether the target differs between nodes of one computed class, so that the class decides nothing. */
export function escapesComputedClass(target: string): boolean {
  const parsed = parseTarget(target);
  return "key" in parsed && /^(node|attr|meta)\.unique\./.test(parsed.key);
}

function own(values: Readonly<Record<string, string>> | null, key: string): string | undefined {
  return values !== null && Object.hasOwn(values, key) ? values[key] : undefined;
}
