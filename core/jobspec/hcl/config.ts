import { HclError, type SourcePosition } from "./error.js";
import { Budget, Evaluator } from "./evaluate.js";
import { standardFunctions } from "./functions/index.js";
import { locateJson } from "./json-positions.js";
import { type ParseLimits, parseHcl } from "./parser.js";
import { Source } from "./source.js";
import type { Body, HclValue } from "./syntax.js";
import { getKey, type HclObject, isObject, setKey } from "./values.js";

/** A configuration file as plain data that can still tell where everything was written. */
export interface HclConfig {
  /**
   * Attributes as they are; blocks as lists, one element a block, below their labels: `plugin "mqtt" { a = 1 }` and
   * `server { enabled = true }` give `{ plugin: { mqtt: [{ a: 1 }] }, server: [{ enabled: true }] }`. A JSON file is
   * its own data, unchanged.
   */
  body: HclObject;
  /**
   * Line and column (1-based) of an attribute's name, a block's type or label, or a list element. Walks as far as the
   * text goes: for a path into the inside of an expression, the position of its attribute. Undefined for an unknown path.
   */
  locate(path: readonly (string | number)[]): SourcePosition | undefined;
}

/** Positions of one level and of what is below it. */
interface Node {
  offset: number;
  children: Map<string | number, Node>;
}

/**
 * Reads an agent configuration file, HCL or JSON (by its first character). There are no variables; functions that need
 * no disk may be called; what belongs to the runtime (`${attr.x}`) stays as text. Throws HclError.
 */
export async function parseHclConfig(
  text: string,
  filename: string,
  limits: ParseLimits = {},
): Promise<HclConfig> {
  if (/^\uFEFF?\s*\{/.test(text)) return parseJsonConfig(text, filename);
  const document = await parseHcl(text, filename, limits);
  const scope = {
    variables: new Map<string, HclValue>(),
    functions: standardFunctions(null),
    budget: new Budget(),
  };
  const root: Node = { offset: 0, children: new Map() };
  const body = readBody(document.body, new Evaluator(document.source, scope), root);
  return {
    body,
    locate(path) {
      let node = root;
      for (const step of path) {
        const child = node.children.get(step);
        if (child === undefined) {
          // Inside an evaluated expression there are no finer positions.
          return node !== root && node.children.size === 0
            ? document.source.position(node.offset)
            : undefined;
        }
        node = child;
      }
      return document.source.position(node.offset);
    },
  };
}

function readBody(body: Body, evaluator: Evaluator, node: Node): HclObject {
  const result: HclObject = {};
  for (const { name, nameRange, expr } of body.attributes) {
    setKey(result, name, evaluator.evaluate(expr));
    node.children.set(name, { offset: nameRange.start, children: new Map() });
  }
  for (const block of body.blocks) {
    let level = result;
    let levelNode = node;
    let name = block.type;
    let offset = block.typeRange.start;
    for (const label of block.labels) {
      const below = getKey(level, name);
      if (below !== undefined && !isObject(below)) throw clash(evaluator, block.typeRange, name);
      const next = below ?? {};
      setKey(level, name, next);
      levelNode = childOf(levelNode, name, offset);
      level = next;
      name = label.value;
      offset = label.range.start;
    }
    const existing = getKey(level, name) ?? [];
    if (!Array.isArray(existing)) throw clash(evaluator, block.typeRange, name);
    const blockNode: Node = { offset, children: new Map() };
    childOf(levelNode, name, offset).children.set(existing.length, blockNode);
    existing.push(readBody(block.body, evaluator, blockNode));
    setKey(level, name, existing);
  }
  return result;
}

function childOf(node: Node, name: string, offset: number): Node {
  const child = node.children.get(name) ?? { offset, children: new Map() };
  node.children.set(name, child);
  return child;
}

function clash(evaluator: Evaluator, range: { start: number; end: number }, name: string): HclError {
  const detail = `"${name}" is written once as an attribute and once as a block, or with and without labels.`;
  return evaluator.source.error(range, "Conflicting definitions", detail);
}

function parseJsonConfig(text: string, filename: string): HclConfig {
  const source = new Source(filename, text);
  const clean = text.replace(/^\uFEFF/, "");
  try {
    const body = JSON.parse(clean) as HclObject;
    return { body, locate: (path) => locateJson(source, path) };
  } catch (error) {
    throw jsonError(source, error);
  }
}

/** The error of JSON.parse at the place it names. */
export function jsonError(source: Source, error: unknown): HclError {
  const message = error instanceof Error ? error.message : String(error);
  const offset = /at position (\d+)/.exec(message)?.[1];
  const at = offset === undefined ? source.text.length : Number(offset);
  return source.error(
    { start: at, end: at },
    "Invalid JSON",
    `${message.replace(/ in JSON at position.*$/s, "")}.`,
  );
}
