/** `${…}` in what a job says of a task (https://developer.hashicorp.com/nomad/docs/runtime/interpolation). */

export interface Interpolation {
  readonly env: Readonly<Record<string, string>>;
  /** `node.…`, `attr.…` and `meta.…`. */
  readonly facts: Readonly<Record<string, string>>;
}

const REFERENCE = /\$\{\s*(?:env\["([^"]+)"\]|env\[([^\]"]+)\]|([^}\s]+))\s*\}/g;

/** What is not known stays as it was written: it may be meant for a shell. */
export function interpolate(text: string, { env, facts }: Interpolation): string {
  return text.replace(REFERENCE, (whole, quoted?: string, bare?: string, name?: string) => {
    const variable = quoted ?? bare;
    if (variable !== undefined) return own(env, variable) ?? whole;
    return own(facts, name!) ?? own(env, name!) ?? whole;
  });
}

/** Every string inside, keys of blocks too. */
export function interpolateAll(value: unknown, scope: Interpolation): unknown {
  if (typeof value === "string") return interpolate(value, scope);
  if (Array.isArray(value)) return value.map((item: unknown) => interpolateAll(item, scope));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [interpolate(key, scope), interpolateAll(item, scope)]),
    );
  }
  return value;
}

function own(values: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}
