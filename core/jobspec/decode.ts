import { parseDuration } from "./duration.js";
import { expandBlocks, freeForm, type ScopedBlock } from "./hcl/blocks.js";
import { type Diagnostic, didYouMean, HclError } from "./hcl/error.js";
import type { Evaluator } from "./hcl/evaluate.js";
import type { Range } from "./hcl/source.js";
import type { Attribute, Body, HclValue } from "./hcl/syntax.js";
import { isObject, scalarText, setKey, toBool, toNumber, typeName } from "./hcl/values.js";
import { type ApiObject, type BlockSchema, emptyObject, type FieldType } from "./schema.js";

/** Marks a value that could not be decoded; why is in the diagnostics. */
const FAILED = Symbol("failed");

type ScalarType = Exclude<FieldType, object>;

/** Turns blocks into API objects by their schema and collects everything that is wrong on the way. */
export class Decoder {
  readonly diagnostics: Diagnostic[] = [];
  readonly #path: string[] = [];

  decode(scoped: ScopedBlock, schema: BlockSchema): ApiObject {
    const { block, evaluator } = scoped;
    const object = emptyObject(schema);
    this.#path.push([block.type, ...block.labels.map((label) => `"${label.value}"`)].join(" "));
    this.#label(scoped, schema, object);
    const sugar: ApiObject = {};
    const seen = new Map<string, Range>();
    for (const attribute of block.body.attributes) {
      seen.set(attribute.name, attribute.nameRange);
      this.#attribute(attribute, evaluator, schema, object, sugar);
    }
    for (const inner of this.#blocks(block.body, evaluator)) this.#block(inner, schema, object, sugar, seen);
    const complaint = schema.refine?.(object, sugar);
    if (complaint !== undefined)
      this.#report(evaluator, block.typeRange, `Invalid ${schema.name}`, complaint);
    this.#path.pop();
    return object;
  }

  /** Evaluation may fail; then that is reported and `fallback` stands in. */
  #attempt<T, F>(operation: () => T, fallback: F): T | F {
    try {
      return operation();
    } catch (error) {
      if (!(error instanceof HclError)) throw error;
      this.diagnostics.push(...error.diagnostics);
      return fallback;
    }
  }

  #report(evaluator: Evaluator, range: Range, summary: string, detail: string): void {
    const where = this.#path.length === 0 ? "" : ` (in ${this.#path.join(", ")})`;
    this.diagnostics.push(evaluator.source.diagnostic(range, summary, `${detail}${where}`));
  }

  #label({ block, evaluator }: ScopedBlock, schema: BlockSchema, object: ApiObject): void {
    const [label, extra] = block.labels;
    if (schema.label === undefined ? label !== undefined : extra !== undefined) {
      const wanted = schema.label === undefined ? "no labels are" : "one label is";
      const range = (schema.label === undefined ? label : extra)!.range;
      this.#report(
        evaluator,
        range,
        `Extraneous label for ${schema.name}`,
        `Only ${wanted} expected for ${schema.name} blocks.`,
      );
    }
    if (schema.label === undefined) return;
    if (label === undefined) {
      const detail = `All ${schema.name} blocks must have 1 label (${schema.label.toLowerCase()}).`;
      this.#report(
        evaluator,
        block.typeRange,
        `Missing ${schema.label.toLowerCase()} for ${schema.name}`,
        detail,
      );
    } else object[schema.label] = label.value;
  }

  #blocks(body: Body, evaluator: Evaluator): ScopedBlock[] {
    // Block by block, so that one bad dynamic block does not hide what is wrong in the others.
    return body.blocks.flatMap((block) =>
      this.#attempt(() => expandBlocks({ ...body, blocks: [block] }, evaluator), []),
    );
  }

  #attribute(
    attribute: Attribute,
    evaluator: Evaluator,
    schema: BlockSchema,
    object: ApiObject,
    sugar: ApiObject,
  ): void {
    const { name, nameRange, expr } = attribute;
    const known = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    const type =
      known?.type ?? (schema.sugar && Object.hasOwn(schema.sugar, name) ? schema.sugar[name] : undefined);
    if (type === undefined) {
      const detail = `An argument named "${name}" is not expected here.${didYouMean(name, keysOf(schema))}`;
      this.#report(evaluator, nameRange, "Unsupported argument", detail);
      return;
    }
    if (typeof type === "object") {
      const detail = `An argument named "${name}" is not expected here. Did you mean to define a block of type "${name}"?`;
      this.#report(evaluator, nameRange, "Unsupported argument", detail);
      return;
    }
    const value = this.#attempt(() => evaluator.evaluate(expr), FAILED);
    if (value === FAILED || value === null) return;
    const converted = fitValue(value, type);
    if (converted instanceof Misfit) {
      const detail = `Inappropriate value for attribute "${name}": ${converted.reason}.`;
      this.#report(evaluator, expr, "Incorrect attribute value type", detail);
    } else if (known === undefined) sugar[name] = converted;
    else object[known.api] = converted;
  }

  #block(
    scoped: ScopedBlock,
    schema: BlockSchema,
    object: ApiObject,
    sugar: ApiObject,
    seen: Map<string, Range>,
  ): void {
    const { block, evaluator } = scoped;
    const name = block.type;
    const known = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    const type =
      known?.type ?? (schema.sugar && Object.hasOwn(schema.sugar, name) ? schema.sugar[name] : undefined);
    if (type === undefined) {
      const detail = `Blocks of type "${name}" are not expected here.${didYouMean(name, keysOf(schema))}`;
      this.#report(evaluator, block.typeRange, "Unsupported block type", detail);
      return;
    }
    const target = known === undefined ? sugar : object;
    const key = known?.api ?? name;
    if (type === "map" || type === "lists" || type === "free") {
      this.#mapBlock(scoped, type, target, key);
    } else if (typeof type !== "object") {
      const detail = `Blocks of type "${name}" are not expected here. Did you mean to define argument "${name}"? If so, use the equals sign to assign it a value.`;
      this.#report(evaluator, block.typeRange, "Unsupported block type", detail);
    } else if ("blocks" in type) {
      target[key] = [
        ...((target[key] as ApiObject[] | null | undefined) ?? []),
        this.decode(scoped, type.blocks),
      ];
    } else if ("byLabel" in type) {
      const map = (target[key] ?? {}) as ApiObject;
      setKey(map, block.labels[0]?.value ?? "", this.decode(scoped, type.byLabel));
      target[key] = map;
    } else {
      const first = seen.get(name);
      if (first !== undefined) {
        const at = evaluator.source.position(first.start);
        const detail = `Only one ${name} block is allowed. Another was defined at line ${at.line}.`;
        this.#report(evaluator, block.typeRange, `Duplicate ${name} block`, detail);
      }
      target[key] = this.decode(scoped, type.block);
    }
    seen.set(name, block.typeRange);
  }

  /** `env { A = 1 }`: as if the inside were an object. Several such blocks add up. */
  #mapBlock(
    { block, evaluator }: ScopedBlock,
    type: "map" | "lists" | "free",
    target: ApiObject,
    key: string,
  ): void {
    const [label] = block.labels;
    if (label !== undefined) {
      const detail = `No labels are expected for ${block.type} blocks.`;
      this.#report(evaluator, label.range, `Extraneous label for ${block.type}`, detail);
    }
    const value = (target[key] ?? {}) as ApiObject;
    if (type === "free") {
      Object.assign(
        value,
        this.#attempt(() => freeForm(block.body, evaluator), {}),
      );
    } else {
      for (const inner of block.body.blocks) {
        const detail = `Blocks are not expected in ${block.type}; write ${inner.type} = … instead.`;
        this.#report(evaluator, inner.typeRange, "Unsupported block type", detail);
      }
      for (const { name, expr } of block.body.attributes) {
        const item = this.#attempt(() => evaluator.evaluate(expr), FAILED);
        if (item === FAILED || item === null) continue;
        const fitted = type === "map" ? fitText(item) : fitValue(item, "strings");
        if (fitted instanceof Misfit) {
          const detail = `Inappropriate value for "${name}" in ${block.type}: ${fitted.reason}.`;
          this.#report(evaluator, expr, "Incorrect attribute value type", detail);
        } else setKey(value, name, fitted);
      }
    }
    target[key] = value;
  }
}

function keysOf(schema: BlockSchema): string[] {
  return [...Object.keys(schema.fields), ...Object.keys(schema.sugar ?? {})];
}

/** Why a value is not of the wanted type. */
export class Misfit {
  constructor(readonly reason: string) {}
}

function fitText(value: HclValue): string | Misfit {
  return scalarText(value) ?? new Misfit(`a string is required, not a ${typeName(value)}`);
}

/** `value` as the API carries a field of `type`, with the conversions HCL makes (numbers and bools from text). */
export function fitValue(value: HclValue, type: ScalarType): unknown {
  switch (type) {
    case "string":
      return fitText(value);
    case "int": {
      const number = toNumber(value);
      if (number !== undefined && Number.isSafeInteger(number)) return number;
      return new Misfit(
        `a whole number is required, not ${number === undefined ? `a ${typeName(value)}` : number}`,
      );
    }
    case "float":
      return toNumber(value) ?? new Misfit(`a number is required, not a ${typeName(value)}`);
    case "bool":
      return toBool(value) ?? new Misfit(`a bool is required, not a ${typeName(value)}`);
    case "duration": {
      if (typeof value === "number" && Number.isInteger(value)) return value;
      const nanoseconds = typeof value === "string" ? parseDuration(value) : undefined;
      return (
        nanoseconds ??
        new Misfit(`a duration such as "30s" or "1h5m" is required, not ${JSON.stringify(value)}`)
      );
    }
    case "strings": {
      if (!Array.isArray(value)) return new Misfit(`a list of strings is required, not a ${typeName(value)}`);
      const items = value.map(fitText);
      return items.find((item) => item instanceof Misfit) ?? items;
    }
    case "map":
    case "lists": {
      if (!isObject(value)) return new Misfit(`a map is required, not a ${typeName(value)}`);
      const result: ApiObject = {};
      for (const [key, item] of Object.entries(value)) {
        const fitted = type === "map" ? fitText(item) : fitValue(item, "strings");
        if (fitted instanceof Misfit) return new Misfit(`at "${key}" ${fitted.reason}`);
        setKey(result, key, fitted);
      }
      return result;
    }
    case "free":
      return isObject(value) ? value : new Misfit(`a map is required, not a ${typeName(value)}`);
  }
}
