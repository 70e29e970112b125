import { type Diagnostic, didYouMean, HclError } from "./hcl/error.js";
import { Budget, Evaluator } from "./hcl/evaluate.js";
import { parseHcl } from "./hcl/parser.js";
import type { Block, Expr, HclValue } from "./hcl/syntax.js";
import { convert, type HclType, readType, TypeMismatch } from "./hcl/types.js";
import { type HclObject, setKey } from "./hcl/values.js";

/** Where values of input variables come from, by rising precedence. */
export interface VariableInputs {
  /** The environment: `NOMAD_VAR_<name>` (and the twin `DROVER_VAR_<name>`) are read. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Variable files: HCL attributes, or JSON. Names that the job does not declare are ignored: files are often shared. */
  varFiles?: readonly { filename: string; text: string }[];
  /** Values of `-var name=value`, as written. */
  variables?: Readonly<Record<string, string>>;
}

const VARIABLE_KEYS = ["type", "default", "description", "sensitive"];
const ENV_PREFIXES = ["NOMAD_VAR_", "DROVER_VAR_"];

interface Declaration {
  block: Block;
  type: HclType;
}

/** A value and how to say where it came from. */
interface Given {
  value: HclValue;
  from: string;
}

/** Reads `variable` and `locals` blocks and gives them values; collects what is wrong. */
export class Variables {
  readonly diagnostics: Diagnostic[] = [];
  readonly #declarations = new Map<string, Declaration>();
  readonly #values: HclObject = {};

  constructor(
    readonly evaluator: Evaluator,
    readonly inputs: VariableInputs,
  ) {}

  /** The names `var` and `local` with their values. Check `diagnostics` before use. */
  async resolve(variables: readonly Block[], locals: readonly Block[]): Promise<Map<string, HclValue>> {
    for (const block of variables) this.#attempt(() => this.#declare(block));
    const given = await this.#given();
    for (const [name, declaration] of this.#declarations) {
      this.#attempt(() => this.#assign(name, declaration, given.get(name)));
    }
    const names = new Map<string, HclValue>([["var", this.#values]]);
    names.set("local", this.diagnostics.length === 0 ? this.#locals(locals, names) : {});
    return names;
  }

  #attempt(operation: () => void): void {
    try {
      operation();
    } catch (error) {
      if (!(error instanceof HclError)) throw error;
      this.diagnostics.push(...error.diagnostics);
    }
  }

  #declare(block: Block): void {
    const { source } = this.evaluator;
    const [name, more] = block.labels;
    if (name === undefined || more !== undefined) {
      throw source.error(
        block.typeRange,
        "Invalid variable block",
        'A variable has one label: variable "NAME" { … }.',
      );
    }
    if (this.#declarations.has(name.value)) {
      throw source.error(name.range, "Duplicate variable", `The variable "${name.value}" is declared twice.`);
    }
    let type: HclType = { kind: "any" };
    for (const attribute of block.body.attributes) {
      if (!VARIABLE_KEYS.includes(attribute.name)) {
        const detail = `An argument named "${attribute.name}" is not expected in a variable.${didYouMean(attribute.name, [...VARIABLE_KEYS, "validation"])}`;
        throw source.error(attribute.nameRange, "Unsupported argument", detail);
      }
      if (attribute.name === "type") type = this.#type(attribute.expr);
    }
    for (const inner of block.body.blocks) {
      if (inner.type === "validation") continue;
      const detail = `Blocks of type "${inner.type}" are not expected in a variable.${didYouMean(inner.type, ["validation"])}`;
      throw source.error(inner.typeRange, "Unsupported block type", detail);
    }
    this.#declarations.set(name.value, { block, type });
  }

  #type(expr: Expr): HclType {
    try {
      return readType(expr);
    } catch (error) {
      if (!(error instanceof TypeMismatch)) throw error;
      throw this.evaluator.source.error(expr, "Invalid type specification", error.message);
    }
  }

  /** Values from outside, later sources over earlier ones. */
  async #given(): Promise<Map<string, Given>> {
    const given = new Map<string, Given>();
    for (const [key, text] of Object.entries(this.inputs.env ?? {})) {
      const prefix = ENV_PREFIXES.find((p) => key.startsWith(p));
      const declaration = prefix === undefined ? undefined : this.#declarations.get(key.slice(prefix.length));
      if (prefix === undefined || declaration === undefined || text === undefined) continue;
      const value = await this.#fromText(text, declaration.type, key);
      if (value !== undefined)
        given.set(key.slice(prefix.length), { value, from: `environment variable ${key}` });
    }
    for (const file of this.inputs.varFiles ?? []) await this.#readFile(file.filename, file.text, given);
    for (const [name, text] of Object.entries(this.inputs.variables ?? {})) {
      const declaration = this.#declarations.get(name);
      if (declaration === undefined) {
        this.#undefinedVariable(name);
        continue;
      }
      const value = await this.#fromText(text, declaration.type, `-var ${name}`);
      if (value !== undefined) given.set(name, { value, from: `-var ${name}` });
    }
    return given;
  }

  #undefinedVariable(name: string): void {
    const detail =
      `A "${name}" variable was passed in the command line but was not found in known variables.` +
      `${didYouMean(name, this.#declarations.keys())} To declare it, write variable "${name}" {} in the job file.`;
    const range = { start: 0, end: 0 };
    this.diagnostics.push(this.evaluator.source.diagnostic(range, "Undefined -var variable", detail));
  }

  /** Text is taken literally for a string (or untyped) variable and read as an expression otherwise. */
  async #fromText(text: string, type: HclType, from: string): Promise<HclValue | undefined> {
    if (type.kind === "string" || type.kind === "any") return text;
    let value: HclValue | undefined;
    try {
      const document = await parseHcl(`value = ${text}\n`, `<value of ${from}>`);
      const [attribute] = document.body.attributes;
      if (attribute !== undefined) value = this.#outside(document.source).evaluate(attribute.expr);
    } catch (error) {
      if (!(error instanceof HclError)) throw error;
      this.diagnostics.push(...error.diagnostics);
    }
    return value;
  }

  /** Values are constants: they see no variables. */
  #outside(source: Evaluator["source"]): Evaluator {
    const { functions } = this.evaluator.scope;
    return new Evaluator(source, { variables: new Map(), functions, budget: new Budget() });
  }

  async #readFile(filename: string, text: string, given: Map<string, Given>): Promise<void> {
    try {
      // A JSON object is also an HCL object, so one parser reads both kinds of file.
      const isJson = /^\s*\{/.test(text);
      const document = await parseHcl(isJson ? `value = ${text.trim()}\n` : text, filename);
      const evaluator = this.#outside(document.source);
      for (const block of document.body.blocks) {
        throw document.source.error(
          block.typeRange,
          "Unsupported block type",
          "A variable file has attributes only.",
        );
      }
      const pairs = document.body.attributes.map((a) => [a.name, evaluator.evaluate(a.expr)] as const);
      const values = isJson ? Object.entries(pairs[0]![1] as HclObject) : pairs;
      for (const [name, value] of values) given.set(name, { value, from: filename });
    } catch (error) {
      if (!(error instanceof HclError)) throw error;
      this.diagnostics.push(...error.diagnostics);
    }
  }

  #assign(name: string, { block, type }: Declaration, given: Given | undefined): void {
    const { source } = this.evaluator;
    const fallback = block.body.attributes.find((attribute) => attribute.name === "default");
    const range = given === undefined && fallback !== undefined ? fallback.expr : block.labels[0]!.range;
    if (given === undefined && fallback === undefined) {
      const detail = `A used variable must be set or have a default value: pass -var ${name}=VALUE, set NOMAD_VAR_${name}, or write a default.`;
      throw source.error(range, `Unset variable "${name}"`, detail);
    }
    const value = given === undefined ? this.evaluator.evaluate(fallback!.expr) : given.value;
    try {
      setKey(this.#values, name, convert(value, type));
    } catch (error) {
      if (!(error instanceof TypeMismatch)) throw error;
      const from = given === undefined ? "its default" : `the value from ${given.from}`;
      throw source.error(
        range,
        `Invalid value for variable "${name}"`,
        `${from} does not fit: ${error.message}`,
      );
    }
    for (const inner of block.body.blocks) this.#validate(name, inner);
  }

  #validate(name: string, validation: Block): void {
    const { source } = this.evaluator;
    const find = (key: string) =>
      validation.body.attributes.find((attribute) => attribute.name === key)?.expr;
    const condition = find("condition");
    const message = find("error_message");
    if (condition === undefined || message === undefined) {
      const detail = "A validation block has condition and error_message.";
      throw source.error(validation.typeRange, "Invalid validation block", detail);
    }
    const evaluator = this.evaluator.with([["var", this.#values]]);
    const holds = evaluator.evaluate(condition);
    if (holds === true || holds === "true") return;
    throw source.error(
      condition,
      `Invalid value for variable "${name}"`,
      String(evaluator.evaluate(message)),
    );
  }

  /** Local values may use each other in any order, but not in a circle. */
  #locals(blocks: readonly Block[], names: ReadonlyMap<string, HclValue>): HclObject {
    const { source } = this.evaluator;
    const exprs = new Map<string, Expr>();
    for (const block of blocks) {
      for (const attribute of block.body.attributes) {
        if (exprs.has(attribute.name)) {
          const detail = `The local value "${attribute.name}" is defined twice.`;
          this.diagnostics.push(source.diagnostic(attribute.nameRange, "Duplicate local value", detail));
        }
        exprs.set(attribute.name, attribute.expr);
      }
    }
    const values: HclObject = {};
    const state = new Map<string, "working" | "done">();
    const evaluator = this.evaluator.with([...names, ["local", values]]);
    const resolve = (name: string): void => {
      const expr = exprs.get(name);
      if (expr === undefined || state.get(name) === "done") return;
      if (state.get(name) === "working") {
        throw source.error(expr, "Circular local value", `The local value "${name}" depends on itself.`);
      }
      state.set(name, "working");
      for (const used of localsUsedBy(expr, exprs)) resolve(used);
      setKey(values, name, evaluator.evaluate(expr));
      state.set(name, "done");
    };
    for (const name of exprs.keys()) this.#attempt(() => resolve(name));
    return values;
  }
}

/** Names of the locals that an expression mentions; all of them when it uses `local` as a whole. */
function localsUsedBy(expr: Expr, all: ReadonlyMap<string, Expr>): Set<string> {
  const used = new Set<string>();
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) node.forEach(visit);
    if (typeof node !== "object" || node === null || Array.isArray(node)) return;
    const at = node as Expr;
    if (
      at.kind === "index" &&
      at.target.kind === "variable" &&
      at.target.name === "local" &&
      at.key.kind === "literal"
    ) {
      used.add(String(at.key.value));
      return;
    }
    if (at.kind === "variable" && at.name === "local") for (const name of all.keys()) used.add(name);
    Object.values(node).forEach(visit);
  };
  visit(expr);
  return used;
}
