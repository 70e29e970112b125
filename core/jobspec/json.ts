import type { JobInput } from "@drover/plugin-sdk";
import { fitValue, Misfit } from "./decode.js";
import type { HclValue } from "./hcl/syntax.js";
import { setKey, typeName } from "./hcl/values.js";
import { type ApiObject, type BlockSchema, emptyObject, type Field, jobSchema } from "./schema.js";

/** Job JSON with values of the wrong type; `problems` has one line each, with the path of the field. */
export class JobJsonError extends Error {
  override name = "JobJsonError";

  constructor(readonly problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/**
 * A job as clients submit it (`{"ID": …}`, durations as nanoseconds or as text) in the API's full form: every field
 * present, null or zero where nothing was sent. Unknown fields are dropped, as Nomad does. Throws JobJsonError.
 */
export function jobFromJson(value: unknown): JobInput {
  const reader = new JsonReader();
  const job = reader.object(value, jobSchema, "Job");
  if (reader.problems.length > 0) throw new JobJsonError(reader.problems);
  return job as JobInput;
}

const JSON_TYPES: Readonly<Record<string, string>> = {
  string: "string",
  int: "number",
  float: "number",
  bool: "boolean",
};

class JsonReader {
  readonly problems: string[] = [];

  object(value: unknown, schema: BlockSchema, path: string): ApiObject {
    const object = emptyObject(schema);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      this.problems.push(`${path}: an object is required, not a ${typeName(value as HclValue)}`);
      return object;
    }
    const sent = value as ApiObject;
    const fields = [...Object.values(schema.fields), ...(schema.server ?? [])];
    if (schema.label !== undefined && !fields.some((field) => field.api === schema.label)) {
      fields.push({ api: schema.label, type: "string", zero: null });
    }
    for (const field of fields) {
      const item = Object.hasOwn(sent, field.api) ? sent[field.api] : undefined;
      if (item === undefined || item === null) continue;
      const read = this.#field(item, field, `${path}.${field.api}`);
      if (read !== undefined) object[field.api] = read;
    }
    return object;
  }

  #field(value: unknown, { type }: Field, path: string): unknown {
    if (typeof type === "object") {
      if ("block" in type) return this.object(value, type.block, path);
      if ("blocks" in type) {
        if (Array.isArray(value))
          return value.map((item, i) => this.object(item, type.blocks, `${path}[${i}]`));
        this.problems.push(`${path}: a list is required, not a ${typeName(value as HclValue)}`);
        return undefined;
      }
      if (typeof value === "object" && !Array.isArray(value)) {
        const result: ApiObject = {};
        for (const [key, item] of Object.entries(value as ApiObject)) {
          setKey(result, key, this.object(item, type.byLabel, `${path}.${key}`));
        }
        return result;
      }
      this.problems.push(`${path}: an object is required, not a ${typeName(value as HclValue)}`);
      return undefined;
    }
    // HCL reads "3" as a number; JSON has its own types and means them.
    const exact = JSON_TYPES[type];
    const fitted = fitValue(value as HclValue, type);
    if (!(fitted instanceof Misfit) && (exact === undefined || typeof value === exact)) return fitted;
    const got = typeName(value as HclValue);
    this.problems.push(
      `${path}: ${fitted instanceof Misfit ? fitted.reason : `a ${exact} is required, not a ${got}`}`,
    );
    return undefined;
  }
}
