/** The command may or may not be committed: leadership or the server itself was lost while it was under way. */
export class OutcomeUnknownError extends Error {
  override readonly name = "OutcomeUnknownError";
  readonly code = "ERR_OUTCOME_UNKNOWN";
}

/** Too much is under way already; nothing was written. Try again later. */
export class ConsensusBusyError extends Error {
  override readonly name = "ConsensusBusyError";
  readonly code = "ERR_CONSENSUS_BUSY";
}

/** The command is larger than the log takes; nothing was written. */
export class CommandTooLargeError extends Error {
  override readonly name = "CommandTooLargeError";
  readonly code = "ERR_COMMAND_TOO_LARGE";
}

/** No space for the log; nothing was written, and what was acknowledged before is safe. */
export class DiskFullError extends Error {
  override readonly name = "DiskFullError";
  readonly code = "ERR_DISK_FULL";
}

/** What is on disk is damaged or belongs to another server; only the operator can decide what to do. */
export class LogDamagedError extends Error {
  override readonly name = "LogDamagedError";
  readonly code = "ERR_LOG_DAMAGED";
}
