import { didYouMean, HclError } from "./error.js";
import type { Range, Source } from "./source.js";
import type { Expr, HclValue, TemplatePart } from "./syntax.js";
import { convert, readType, TypeMismatch } from "./types.js";
import {
  equalValues,
  getKey,
  isObject,
  numberText,
  scalarText,
  setKey,
  toBool,
  toNumber,
  typeName,
} from "./values.js";

/** A function of the language. Arguments are checked by the function itself, which throws FunctionError. */
export type HclFunction = (args: HclValue[]) => HclValue;

/** What a function says about its arguments; the evaluator adds where. */
export class FunctionError extends Error {
  override name = "FunctionError";
}

/** The whole evaluation costs too much; unlike a FunctionError, try() and can() do not catch it. */
export class TooExpensive extends Error {
  override name = "TooExpensive";
}

/** Names an expression can see. */
export interface Scope {
  /** Root names such as `var` and `local`, and loop variables. */
  variables: ReadonlyMap<string, HclValue>;
  functions: Readonly<Record<string, HclFunction>>;
  /** Shared by everything evaluated for one file. */
  budget: Budget;
}

/** Bounds the work one file can cause: a few lines can otherwise loop over range(1024) four times nested. */
export class Budget {
  #steps = 0;
  #characters = 0;

  constructor(
    readonly maxSteps = 200_000,
    readonly maxCharacters = 32 * 1024 * 1024,
  ) {}

  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > this.maxSteps)
      throw new TooExpensive(`Evaluation takes more than ${this.maxSteps} steps.`);
  }

  /** Accounts for text that was built. */
  text(value: string): string {
    this.#characters += value.length;
    if (this.#characters > this.maxCharacters) {
      throw new TooExpensive(`Evaluation builds more than ${this.maxCharacters} characters of text.`);
    }
    return value;
  }
}

/** Roots of interpolations that the node fills in when the task runs; the job keeps them as text. */
const RUNTIME_ROOTS = ["attr", "node", "meta", "env", "unique", "device", "driver", "dc"];

/** The runtime's names for `didYouMean`, with those that are environment variables. */
const RUNTIME_NAMES = [...RUNTIME_ROOTS, "NOMAD_META", "NOMAD_ALLOC_ID", "JOB", "TASKGROUP", "TASK", "BASE"];

/** Environment variables (`NOMAD_PORT_http`, `HOME`) and service name parts (`JOB`, `BASE`) are the runtime's too. */
function belongsToRuntime(root: string): boolean {
  return RUNTIME_ROOTS.includes(root) || /^[A-Z_][A-Za-z0-9_-]*$/.test(root);
}

/** Evaluates expressions of one source text. Everything it throws is an HclError with the position of the cause. */
export class Evaluator {
  constructor(
    readonly source: Source,
    readonly scope: Scope,
  ) {}

  evaluate(expr: Expr): HclValue {
    try {
      return this.#evaluate(expr, this.scope.variables);
    } catch (error) {
      if (error instanceof TooExpensive)
        throw this.source.error(expr, "Evaluation too expensive", error.message);
      throw error;
    }
  }

  /** The same source and functions with more names in sight. */
  with(names: Iterable<readonly [string, HclValue]>): Evaluator {
    const variables = new Map([...this.scope.variables, ...names]);
    return new Evaluator(this.source, { ...this.scope, variables });
  }

  #evaluate(expr: Expr, names: ReadonlyMap<string, HclValue>): HclValue {
    this.scope.budget.step();
    switch (expr.kind) {
      case "literal":
        return expr.value;
      case "template":
        return this.#template(expr.parts, names);
      case "variable":
        return this.#traversal(expr, names);
      case "index":
        return this.#traversal(expr, names);
      case "anonymous":
        return names.get(ANONYMOUS) ?? null;
      case "splat":
        return this.#splat(expr, names);
      case "call":
        return this.#call(expr, names);
      case "unary":
        return this.#unary(expr, names);
      case "binary":
        return this.#binary(expr, names);
      case "conditional": {
        const condition = this.#bool(expr.condition, names);
        return this.#evaluate(condition ? expr.whenTrue : expr.whenFalse, names);
      }
      case "tuple":
        return expr.items.map((item) => this.#evaluate(item, names));
      case "object": {
        const result: { [key: string]: HclValue } = {};
        for (const { key, value } of expr.items) {
          setKey(result, this.#text(key, names), this.#evaluate(value, names));
        }
        return result;
      }
      case "for":
        return this.#for(expr, names);
    }
  }

  /** A name with its attributes and indexes, or the text of it when the name is the runtime's. */
  #traversal(
    expr: Extract<Expr, { kind: "variable" | "index" }>,
    names: ReadonlyMap<string, HclValue>,
  ): HclValue {
    const root = rootOf(expr);
    if (root !== undefined && !names.has(root.name)) {
      if (belongsToRuntime(root.name)) return this.scope.budget.text(`\${${this.source.slice(expr)}}`);
      const known = [...names.keys()].filter((name) => name !== ANONYMOUS);
      throw this.source.error(
        root,
        "Unknown variable",
        `There is no variable named "${root.name}".${didYouMean(root.name, [...known, ...RUNTIME_NAMES])} ` +
          `To keep the text for the task, write $\${${this.source.slice(expr)}} with two dollar signs.`,
      );
    }
    if (expr.kind === "variable") return names.get(expr.name)!;
    const target = this.#evaluate(expr.target, names);
    const key = this.#evaluate(expr.key, names);
    return this.#index(expr, target, key);
  }

  #index(expr: Extract<Expr, { kind: "index" }>, target: HclValue, key: HclValue): HclValue {
    if (Array.isArray(target)) {
      const index = toNumber(key);
      if (index === undefined || !Number.isInteger(index)) {
        throw this.source.error(expr.key, "Invalid index", "A list is indexed with a whole number.");
      }
      const item = target[index];
      if (item === undefined) {
        const detail = `The list has ${target.length} elements; there is no index ${index}.`;
        throw this.source.error(expr.key, "Invalid index", detail);
      }
      return item;
    }
    if (isObject(target)) {
      const name = scalarText(key) ?? "";
      const item = getKey(target, name);
      if (item !== undefined) return item;
      const inside = this.source.slice(expr.target);
      const summary = inside === "var" || inside === "local" ? "Unknown variable" : "Unsupported attribute";
      const detail = `"${inside}" has no "${name}".${didYouMean(name, Object.keys(target))}`;
      throw this.source.error(expr.key, summary, detail);
    }
    throw this.source.error(
      expr,
      "Unsupported attribute",
      `A value of type ${typeName(target)} has no attributes.`,
    );
  }

  #splat(expr: Extract<Expr, { kind: "splat" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    const target = this.#evaluate(expr.target, names);
    if (target === null) return [];
    const items = Array.isArray(target) ? target : [target];
    return items.map((item) => this.#evaluate(expr.each, new Map([...names, [ANONYMOUS, item]])));
  }

  #call(expr: Extract<Expr, { kind: "call" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    if (expr.name === "try" || expr.name === "can") return this.#attempt(expr, names);
    if (expr.name === "convert") return this.#convert(expr, names);
    const fn = Object.hasOwn(this.scope.functions, expr.name) ? this.scope.functions[expr.name] : undefined;
    if (fn === undefined) {
      const known = [...Object.keys(this.scope.functions), "try", "can", "convert"];
      const detail = `There is no function named "${expr.name}".${didYouMean(expr.name, known)}`;
      throw this.source.error(expr.nameRange, "Call to unknown function", detail);
    }
    const args = expr.args.map((arg) => this.#evaluate(arg, names));
    if (expr.expandLast) {
      const last = args.pop();
      if (!Array.isArray(last)) {
        throw this.source.error(
          expr.args.at(-1)!,
          "Invalid expanding argument",
          'The value before "..." must be a list.',
        );
      }
      args.push(...last);
    }
    try {
      const result = fn(args);
      this.#charge(result);
      return result;
    } catch (error) {
      if (!(error instanceof FunctionError)) throw error;
      throw this.source.error(
        expr,
        "Error in function call",
        `Call to function "${expr.name}" failed: ${error.message}.`,
      );
    }
  }

  /** A function may return far more than it was given. */
  #charge(value: HclValue): void {
    if (typeof value === "string") this.scope.budget.text(value);
    else if (Array.isArray(value)) this.scope.budget.step(value.length);
    else if (isObject(value)) this.scope.budget.step(Object.keys(value).length);
  }

  #attempt(expr: Extract<Expr, { kind: "call" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    let last: HclError | undefined;
    for (const arg of expr.args) {
      try {
        const value = this.#evaluate(arg, names);
        return expr.name === "can" ? true : value;
      } catch (error) {
        // That an argument fails is what try() and can() are there for; anything else is not theirs.
        if (!(error instanceof HclError)) throw error;
        last = error;
      }
    }
    if (expr.name === "can" && last !== undefined) return false;
    throw last ?? this.source.error(expr, "Error in function call", `${expr.name}() needs an argument.`);
  }

  #convert(expr: Extract<Expr, { kind: "call" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    const [value, type] = expr.args;
    if (value === undefined || type === undefined || expr.args.length !== 2) {
      throw this.source.error(expr, "Error in function call", "convert() takes a value and a type.");
    }
    try {
      return convert(this.#evaluate(value, names), readType(type));
    } catch (error) {
      if (!(error instanceof TypeMismatch)) throw error;
      throw this.source.error(
        expr,
        "Error in function call",
        `Call to function "convert" failed: ${error.message}`,
      );
    }
  }

  #unary(expr: Extract<Expr, { kind: "unary" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    return expr.operator === "!" ? !this.#bool(expr.operand, names) : -this.#number(expr.operand, names);
  }

  #binary(expr: Extract<Expr, { kind: "binary" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    const { operator, left, right } = expr;
    switch (operator) {
      case "&&":
        return this.#bool(left, names) && this.#bool(right, names);
      case "||":
        return this.#bool(left, names) || this.#bool(right, names);
      case "==":
        return equalValues(this.#evaluate(left, names), this.#evaluate(right, names));
      case "!=":
        return !equalValues(this.#evaluate(left, names), this.#evaluate(right, names));
    }
    const a = this.#number(left, names);
    const b = this.#number(right, names);
    switch (operator) {
      case "<":
        return a < b;
      case "<=":
        return a <= b;
      case ">":
        return a > b;
      case ">=":
        return a >= b;
      case "+":
        return a + b;
      case "-":
        return a - b;
      case "*":
        return a * b;
      case "/":
      case "%":
        if (b === 0)
          throw this.source.error(right, "Division by zero", "The right side of this operator is zero.");
        return operator === "/" ? a / b : a % b;
    }
  }

  #for(expr: Extract<Expr, { kind: "for" }>, names: ReadonlyMap<string, HclValue>): HclValue {
    const list: HclValue[] = [];
    const object: { [key: string]: HclValue } = {};
    for (const [key, value] of this.#entries(expr.collection, names)) {
      const inner = loopNames(names, expr, key, value);
      if (expr.condition !== null && !this.#bool(expr.condition, inner)) continue;
      const result = this.#evaluate(expr.value, inner);
      if (expr.key === null) {
        list.push(result);
        continue;
      }
      const name = this.#text(expr.key, inner);
      if (expr.grouped) {
        const group = getKey(object, name);
        if (Array.isArray(group)) group.push(result);
        else setKey(object, name, [result]);
      } else if (Object.hasOwn(object, name)) {
        const detail = `Two elements have the key "${name}". To collect them in a list, write "..." after the value.`;
        throw this.source.error(expr.key, "Duplicate object key", detail);
      } else setKey(object, name, result);
    }
    return expr.key === null ? list : object;
  }

  /** Elements of a list with their index, or of an object in the order of its keys. */
  #entries(expr: Expr, names: ReadonlyMap<string, HclValue>): [HclValue, HclValue][] {
    const collection = this.#evaluate(expr, names);
    if (Array.isArray(collection)) return collection.map((value, i) => [i, value]);
    if (isObject(collection)) {
      return Object.keys(collection)
        .sort()
        .map((key) => [key, collection[key]!]);
    }
    throw this.source.error(
      expr,
      "Iteration over non-iterable value",
      `A ${typeName(collection)} cannot be looped over.`,
    );
  }

  #template(parts: TemplatePart[], names: ReadonlyMap<string, HclValue>): HclValue {
    const [only] = parts;
    // "${x}" alone is x itself, whatever its type.
    if (parts.length === 1 && only?.kind === "interpolation") return this.#evaluate(only.expr, names);
    return this.#parts(parts, names);
  }

  #parts(parts: TemplatePart[], names: ReadonlyMap<string, HclValue>): string {
    let result = "";
    for (const part of parts) {
      switch (part.kind) {
        case "text":
          result += part.value;
          break;
        case "interpolation":
          result += this.#text(part.expr, names, "Invalid template interpolation value");
          break;
        case "if":
          result += this.#parts(this.#bool(part.condition, names) ? part.whenTrue : part.whenFalse, names);
          break;
        case "for":
          for (const [key, value] of this.#entries(part.collection, names)) {
            result += this.#parts(part.body, loopNames(names, part, key, value));
          }
          break;
      }
      this.scope.budget.step();
    }
    return this.scope.budget.text(result);
  }

  #text(expr: Expr, names: ReadonlyMap<string, HclValue>, summary = "Incorrect value type"): string {
    const value = this.#evaluate(expr, names);
    return scalarText(value) ?? this.#wrongType(expr, "string", value, summary);
  }

  #number(expr: Expr, names: ReadonlyMap<string, HclValue>): number {
    const value = this.#evaluate(expr, names);
    return toNumber(value) ?? this.#wrongType(expr, "number", value, "Unsuitable value type");
  }

  #bool(expr: Expr, names: ReadonlyMap<string, HclValue>): boolean {
    const value = this.#evaluate(expr, names);
    return toBool(value) ?? this.#wrongType(expr, "bool", value, "Unsuitable value type");
  }

  #wrongType(range: Range, wanted: string, value: HclValue, summary: string): never {
    const shown = typeof value === "number" ? `the number ${numberText(value)}` : `a ${typeName(value)}`;
    throw this.source.error(
      range,
      summary,
      `A ${wanted} is required here, not ${value === null ? "null" : shown}.`,
    );
  }
}

/** Name under which the element of a splat is in scope; no identifier can be spelled like this. */
const ANONYMOUS = "*";

function rootOf(expr: Expr): Extract<Expr, { kind: "variable" }> | undefined {
  let at = expr;
  while (at.kind === "index") at = at.target;
  return at.kind === "variable" ? at : undefined;
}

function loopNames(
  names: ReadonlyMap<string, HclValue>,
  loop: { keyName: string | null; valueName: string },
  key: HclValue,
  value: HclValue,
): ReadonlyMap<string, HclValue> {
  const inner = new Map(names);
  if (loop.keyName !== null) inner.set(loop.keyName, key);
  inner.set(loop.valueName, value);
  return inner;
}
