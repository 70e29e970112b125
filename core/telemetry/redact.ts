/** Names of fields whose values never go to a log. */
const SECRET = /token|secret|password|passwd|private_?key|credential/i;
const MAX_DEPTH = 4;

/** Fields for a log line: secrets blanked, errors as their message, nothing nested too deep to read. */
export function logFields(fields: object): Record<string, unknown> {
  return objectFields(fields, 0);
}

function objectFields(value: object, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      SECRET.test(key) && item !== undefined && item !== "" ? "[redacted]" : fieldValue(item, depth + 1),
    ]),
  );
}

function fieldValue(value: unknown, depth: number): unknown {
  if (value instanceof Error) return errorText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (value instanceof Date) return value.toISOString();
  if (depth >= MAX_DEPTH) return Array.isArray(value) ? "[…]" : "{…}";
  return Array.isArray(value) ? value.map((item) => fieldValue(item, depth + 1)) : objectFields(value, depth);
}

function errorText(error: Error): string {
  const own = error.message === "" ? error.name : error.message;
  const inner =
    error instanceof AggregateError
      ? error.errors.map((one) => (one instanceof Error ? one.message : String(one)))
      : [];
  const all = [own, ...inner.filter((text) => !own.includes(text))].join("; ");
  return error.cause instanceof Error && !all.includes(error.cause.message)
    ? `${all}: ${errorText(error.cause)}`
    : all;
}
