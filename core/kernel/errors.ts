/** Something wrong with a plugin, told to the operator; `plugin` says which. */
export class PluginError extends Error {
  override readonly name = "PluginError";
  constructor(
    readonly plugin: string,
    message: string,
    options?: { cause: unknown },
  ) {
    super(message, options);
  }
}

/** Several things that are wrong at once, one a line. */
export class PluginErrors extends AggregateError {
  override readonly name = "PluginErrors";
  constructor(override readonly errors: readonly PluginError[] & PluginError[]) {
    super(errors, errors.map((error) => error.message).join("\n"));
  }
}

/** The message of anything that was thrown, with the messages of its causes. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const own = thrown.message === "" ? thrown.name : thrown.message;
  if (thrown.cause === undefined) return own;
  const cause = reasonOf(thrown.cause);
  return own.includes(cause) ? own : `${own}: ${cause}`;
}
