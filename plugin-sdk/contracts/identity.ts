/** Service identity (Consul ACLs) and secrets (Vault): tokens that the server derives for a task. */
import type { Allocation } from "../domain/index.js";
import { createToken } from "../kernel/token.js";

/** A derived token. Its secret travels only inside a sealed payload to the node that runs the task. */
export interface DerivedToken {
  /** Public handle by which it is revoked. */
  readonly accessor: string;
  readonly secret: string;
  /** Seconds; 0 where it does not expire. */
  readonly ttl: number;
  readonly renewable: boolean;
}

/** Contract of Consul-like service identity: `https://developer.hashicorp.com/nomad/docs/job-specification/connect`. */
export interface ServiceIdentity {
  /** Derives one token a task; keys are task names. Rejects whole when one can't be derived, after revoking the others. */
  deriveTokens(allocation: Allocation, tasks: readonly string[]): Promise<ReadonlyMap<string, DerivedToken>>;
  /** Revokes by accessor; resolves with those that could not be revoked and must be tried again. */
  revoke(accessors: readonly string[]): Promise<readonly string[]>;
  /** Whether the operator's token, given at job submission, may use the services of the job. */
  authorize(token: string, services: readonly string[], namespace: string): Promise<boolean>;
}
export const ServiceIdentity = createToken<ServiceIdentity>("ServiceIdentity");

/** Contract of a secret store: tokens with policies, as Nomad's Vault integration. */
export interface Secrets {
  deriveTokens(allocation: Allocation, tasks: readonly string[]): Promise<ReadonlyMap<string, DerivedToken>>;
  renew(token: DerivedToken): Promise<DerivedToken>;
  revoke(accessors: readonly string[]): Promise<readonly string[]>;
  /** Rejects with the policies that the submitter's token does not hold. */
  authorize(token: string, policies: readonly string[]): Promise<void>;
}
export const Secrets = createToken<Secrets>("Secrets");
