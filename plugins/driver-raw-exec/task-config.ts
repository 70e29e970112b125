/** The `config` block of a raw_exec task (https://developer.hashicorp.com/nomad/docs/drivers/raw_exec). */

export interface RawExecTaskConfig {
  readonly command: string;
  readonly args: readonly string[];
}

const KEYS = ["command", "args"];

/** Every error of a block; empty when it is fine. */
export function validateTaskConfig(config: Readonly<Record<string, unknown>>): string[] {
  const errors: string[] = [];
  if (config.command === undefined) errors.push('missing "command": the program to run');
  else if (typeof config.command !== "string" || config.command === "") {
    errors.push(`"command" must be a non-empty string, not ${describe(config.command)}`);
  }
  const args = config.args;
  if (args !== undefined && args !== null) {
    if (!Array.isArray(args)) errors.push(`"args" must be a list of strings, not ${describe(args)}`);
    else {
      args.forEach((value: unknown, index) => {
        if (!isScalar(value)) errors.push(`"args[${index}]" must be a string, not ${describe(value)}`);
      });
    }
  }
  for (const key of Object.keys(config)) {
    if (KEYS.includes(key)) continue;
    const near = nearest(key, KEYS);
    errors.push(
      near === undefined
        ? `unknown key "${key}"; known keys are ${KEYS.map((known) => `"${known}"`).join(", ")}`
        : `unknown key "${key}", did you mean "${near}"?`,
    );
  }
  return errors;
}

/** Throws an Error that names every fault. */
export function parseTaskConfig(config: Readonly<Record<string, unknown>>): RawExecTaskConfig {
  const errors = validateTaskConfig(config);
  if (errors.length > 0) throw new Error(`the task's config is wrong: ${errors.join("; ")}`);
  const args = (config.args ?? []) as readonly (string | number | boolean)[];
  return { command: config.command as string, args: args.map(String) };
}

/** Numbers and booleans become strings, as HCL converts them. */
function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function describe(value: unknown): string {
  if (value === "") return "an empty one";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a block";
  return `the ${typeof value} ${String(value)}`;
}

/** The known word with the fewest edits, where that is no more than half of it. */
function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, edits: editDistance(word.toLowerCase(), candidate) }))
    .sort((a, b) => a.edits - b.edits)[0];
  return ranked !== undefined && ranked.edits <= ranked.candidate.length / 2 ? ranked.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
