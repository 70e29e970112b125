/**
 * A command that must not be applied: bad input, or a condition that does not hold. Its result is this error. A handler
 * that has written nothing yet returns it; thrown, the entry's writes are undone at the price of applying the batch
 * again.
 */
export class CommandRefused extends Error {
  override readonly name = "CommandRefused";
}
