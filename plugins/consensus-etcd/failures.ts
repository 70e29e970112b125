import { isBrokenCircuitError } from "cockatiel";

/** What a failed request to etcd means for whoever made it. */
export type FailureKind =
  /** No answer, or a member that can't serve now: the request may have been carried out all the same. Try again. */
  | "unavailable"
  /** etcd's quota is used up: it refuses everything that takes room. */
  | "no-space"
  /** Larger than etcd's --max-request-bytes. */
  | "too-large"
  /** The history before the asked revision is gone. */
  | "compacted"
  /** The lease has expired or was revoked. */
  | "lease-lost"
  /** User, password, role or certificate are not accepted. */
  | "denied"
  /** Anything else: a bug, or an etcd of a version that this one does not know. */
  | "other";

export class EtcdFailure extends Error {
  override readonly name = "EtcdFailure";
  constructor(
    readonly kind: FailureKind,
    message: string,
    options?: ErrorOptions,
    /** Whether a member may have got the request: not where there is no connection to it, or it is left alone after failures. */
    readonly wasSent = true,
  ) {
    super(message, options);
  }
}

/** etcd's texts (api/v3rpc/rpctypes), which its clients have to tell errors of one gRPC code apart by. */
const TEXTS: readonly (readonly [string, FailureKind])[] = [
  ["database space exceeded", "no-space"],
  ["request is too large", "too-large"],
  ["trying to send message larger than max", "too-large"],
  ["required revision has been compacted", "compacted"],
  ["requested lease not found", "lease-lost"],
  ["is expired or revoked", "lease-lost"],
  ["permission denied", "denied"],
  ["PERMISSION_DENIED", "denied"],
  ["authentication failed", "denied"],
  ["authentication is not enabled", "denied"],
  ["user name is empty", "denied"],
  // The client gets itself a new one with its next request.
  ["invalid auth token", "unavailable"],
  ["UNAUTHENTICATED", "denied"],
];

/** gRPC codes after which nobody knows: cancelled, unknown, deadline, exhausted, aborted, internal, unavailable. */
const UNAVAILABLE = /^(?:1|2|4|8|10|13|14) [A-Z_]+:/;

/** Of gRPC, for a request that was not sent. */
const NOT_CONNECTED = "No connection established";

export function failureOf(thrown: unknown, what: string): EtcdFailure {
  if (thrown instanceof EtcdFailure) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const cause = { cause: thrown };
  if (isBrokenCircuitError(thrown)) return new EtcdFailure("unavailable", `${what}: ${text}`, cause, false);
  const known = TEXTS.find(([part]) => text.includes(part))?.[1];
  const kind = known ?? (UNAVAILABLE.test(text) ? "unavailable" : "other");
  return new EtcdFailure(kind, `${what}: ${text}`, cause, !text.includes(NOT_CONNECTED));
}
