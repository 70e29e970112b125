import type { HclError } from "./error.js";
import { didYouMean } from "./error.js";
import type { Evaluator } from "./evaluate.js";
import type { Attribute, Block, Body, HclValue } from "./syntax.js";
import { isObject, scalarText } from "./values.js";

/** A block together with the names its expressions can see. */
export interface ScopedBlock {
  block: Block;
  evaluator: Evaluator;
}

/** Keys of a `dynamic` block. */
const DYNAMIC_KEYS = ["for_each", "iterator", "labels"];

/**
 * The blocks of a body in order, with every `dynamic "NAME" { for_each = …  content { … } }` replaced by one block an
 * element (https://developer.hashicorp.com/nomad/docs/job-specification/hcl2/expressions#dynamic-blocks). Throws HclError.
 */
export function expandBlocks(body: Body, evaluator: Evaluator): ScopedBlock[] {
  return body.blocks.flatMap((block) =>
    block.type === "dynamic" ? expandDynamic(block, evaluator) : [{ block, evaluator }],
  );
}

function expandDynamic(block: Block, evaluator: Evaluator): ScopedBlock[] {
  const { source } = evaluator;
  const [name, more] = block.labels;
  if (name === undefined || more !== undefined) {
    throw source.error(
      block.typeRange,
      "Invalid dynamic block",
      'A dynamic block has one label: dynamic "NAME" { … }.',
    );
  }
  const known = new Map(block.body.attributes.map((attribute) => [attribute.name, attribute]));
  for (const attribute of known.values()) {
    if (DYNAMIC_KEYS.includes(attribute.name)) continue;
    const detail = `A dynamic block has for_each, iterator, labels and content.${didYouMean(attribute.name, DYNAMIC_KEYS)}`;
    throw source.error(attribute.nameRange, "Unsupported argument", detail);
  }
  const [content, second] = block.body.blocks;
  if (content?.type !== "content" || second !== undefined) {
    throw source.error(
      block.typeRange,
      "Missing content block",
      "A dynamic block has exactly one content block.",
    );
  }
  const iterator = iteratorName(known.get("iterator"), name.value, evaluator);
  return elements(known.get("for_each"), block, evaluator).map(([key, value]) => {
    const inner = evaluator.with([[iterator, { key, value }]]);
    const labels = dynamicLabels(known.get("labels"), inner);
    return {
      block: { type: name.value, typeRange: name.range, labels, body: content.body },
      evaluator: inner,
    };
  });
}

/** `iterator = name` is a bare name, not an expression. */
function iteratorName(attribute: Attribute | undefined, fallback: string, evaluator: Evaluator): string {
  if (attribute === undefined) return fallback;
  if (attribute.expr.kind === "variable") return attribute.expr.name;
  throw evaluator.source.error(
    attribute.expr,
    "Invalid iterator",
    "The iterator is a plain name, without quotes.",
  );
}

function elements(
  attribute: Attribute | undefined,
  block: Block,
  evaluator: Evaluator,
): [HclValue, HclValue][] {
  if (attribute === undefined) {
    throw evaluator.source.error(
      block.typeRange,
      "Missing required argument",
      'The argument "for_each" is required.',
    );
  }
  const value = evaluator.evaluate(attribute.expr);
  if (Array.isArray(value)) return value.map((item, i) => [i, item]);
  if (isObject(value)) {
    return Object.keys(value)
      .sort()
      .map((key) => [key, value[key]!]);
  }
  throw evaluator.source.error(
    attribute.expr,
    "Invalid dynamic for_each value",
    "A list or an object is required.",
  );
}

function dynamicLabels(attribute: Attribute | undefined, evaluator: Evaluator): Block["labels"] {
  if (attribute === undefined) return [];
  const value = evaluator.evaluate(attribute.expr);
  const wrong = (): HclError =>
    evaluator.source.error(attribute.expr, "Invalid dynamic block labels", "A list of strings is required.");
  if (!Array.isArray(value)) throw wrong();
  return value.map((item) => {
    const text = scalarText(item);
    if (text === undefined) throw wrong();
    return { value: text, range: attribute.expr };
  });
}

/** A body of any shape as data: attributes as they are, blocks as lists of objects below their labels. */
export function freeForm(body: Body, evaluator: Evaluator): { [key: string]: HclValue } {
  const result = new Map<string, HclValue>();
  for (const { name, expr } of body.attributes) result.set(name, evaluator.evaluate(expr));
  for (const scoped of expandBlocks(body, evaluator)) {
    let inner: HclValue = freeForm(scoped.block.body, scoped.evaluator);
    for (const label of scoped.block.labels.toReversed()) inner = { [label.value]: [inner] };
    const list = result.get(scoped.block.type);
    if (Array.isArray(list)) list.push(inner);
    else result.set(scoped.block.type, [inner]);
  }
  return Object.fromEntries(result);
}
