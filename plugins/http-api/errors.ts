/** What the API answers for an error: Nomad answers every problem as one line of plain text. */
import { HttpError } from "@drover/plugin-sdk";

export interface Problem {
  readonly status: number;
  readonly message: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Not raised on purpose for the caller: belongs in the log, with its stack. */
  readonly unexpected: boolean;
}

/**
 * Maps what a handler threw. Errors are told by name, not by class: a plugin may bring its own copy of the SDK, whose
 * classes are others.
 */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof Error)) {
    return { status: 500, message: String(error), headers: {}, unexpected: true };
  }
  const known = (status: number, message = error.message, headers: Record<string, string> = {}): Problem => ({
    status,
    message,
    headers,
    unexpected: false,
  });
  const details = error as {
    status?: unknown;
    statusCode?: unknown;
    code?: unknown;
    headers?: Record<string, string>;
  };
  switch (error.name) {
    case "HttpError":
    case "EndpointError":
      if (typeof details.status === "number") return known(details.status, error.message, details.headers);
      break;
    case "NotLeaderError":
      return known(500);
    case "RemoteError":
      return known(remoteStatus(String(details.code)));
  }
  // The web framework's own refusals (malformed requests).
  if (typeof details.statusCode === "number" && details.statusCode >= 400 && details.statusCode < 500) {
    return known(details.statusCode);
  }
  return { status: 500, message: error.message, headers: {}, unexpected: true };
}

/** Code for what an agent answered; a node that isn't connected is 404, as Nomad has it. */
function remoteStatus(code: string): number {
  switch (code) {
    case "not_found":
    case "unreachable":
      return 404;
    case "bad_request":
      return 400;
    default:
      return 500;
  }
}

/** Refuses an id the way Nomad's state store does; prefixes are for lists only. */
export function checkUUID(kind: string, id: string): void {
  if (id.length !== 36)
    throw new HttpError(500, `${kind} lookup failed: index error: UUID must be 36 characters`);
}
