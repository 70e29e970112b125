/** Gossip and server discovery: who the other servers are. */
import type { AgentMember } from "../domain/index.js";
import { createToken } from "../kernel/token.js";

export type MembershipEvent =
  | { readonly type: "join" | "leave" | "failed" | "update" | "reap"; readonly member: AgentMember }
  | { readonly type: "user"; readonly name: string; readonly payload: Uint8Array };

/** Membership by gossip (SWIM, Das et al. 2002; Serf's events). */
export interface Gossip {
  members(): readonly AgentMember[];
  /** Contacts `addresses` (`host:port`); gives how many answered. Rejects when none did, naming each failure. */
  join(addresses: readonly string[]): Promise<number>;
  /** Leaves gracefully, so that the others do not see a failure. */
  leave(): Promise<void>;
  /** Declares a failed member as left. */
  forceLeave(name: string): Promise<void>;
  /** Replaces this member's tags and spreads them. */
  setTags(tags: Readonly<Record<string, string>>): Promise<void>;
  /** Spreads a user event; `payload` up to 512 bytes. */
  broadcast(name: string, payload: Uint8Array): Promise<void>;
  subscribe(listener: (event: MembershipEvent) => void): () => void;
  /** Base64 keys of the keyring, primary first. */
  keys(): readonly string[];
}
export const Gossip = createToken<Gossip>("Gossip");

/** Finds servers to join: a static list, Consul's catalog, a cloud's tags. */
export interface ServerDiscovery {
  /** Name for logs and errors. */
  readonly name: string;
  /** `host:port` of servers seen now; an empty list is an answer. */
  discover(signal: AbortSignal): Promise<readonly string[]>;
}
export const ServerDiscovery = createToken<ServerDiscovery>("ServerDiscovery", "multiple");
