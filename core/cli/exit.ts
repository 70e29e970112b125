/** How a command ends other than well. */

/** Ends the process with `code`; `message`, when there is one, goes to standard error. */
export class ExitError extends Error {
  override readonly name = "ExitError";
  constructor(
    readonly code: number,
    message = "",
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
