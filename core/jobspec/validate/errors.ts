/** Several errors in the text form that Nomad's API uses; nested lists keep their own blank lines. */
export function formatMultiError(errors: readonly string[]): string {
  const head = errors.length === 1 ? "1 error occurred:" : `${errors.length} errors occurred:`;
  return `${head}\n\t${errors.map((error) => `* ${error}`).join("\n\t")}\n\n`;
}

/** Warnings in the text form of `Warnings` in API answers; "" without any. */
export function formatWarnings(warnings: readonly string[]): string {
  if (warnings.length === 0) return "";
  return `${warnings.length} warning(s):\n\n${warnings.map((warning) => `* ${warning}`).join("\n")}`;
}

/** Collects what is wrong with one part of a job. */
export class ErrorList {
  readonly errors: string[] = [];

  add(message: string): void {
    this.errors.push(message);
  }

  /** Adds `message` when `wrong`. */
  check(wrong: boolean, message: string): void {
    if (wrong) this.errors.push(message);
  }

  /** Checks a part into a list of its own; when it has errors, they become one error of this list. */
  nest(prefix: string, check: (inner: ErrorList) => void): void {
    const inner = new ErrorList();
    check(inner);
    if (inner.errors.length > 0) this.errors.push(`${prefix}: ${formatMultiError(inner.errors)}`);
  }

  /** Checks a part whose errors stand as one error without a prefix. */
  part(check: (inner: ErrorList) => void): void {
    const inner = new ErrorList();
    check(inner);
    if (inner.errors.length > 0) this.errors.push(formatMultiError(inner.errors));
  }
}

/** A value as Go's %q prints it. */
export function quoted(value: string): string {
  return JSON.stringify(value);
}
