import { crc32 } from "node:zlib";
import type { AgentMember, MembershipEvent } from "@drover/plugin-sdk";
import { MAX_MEMBERS, type MemberRecord, recordAddress, toAgentMember } from "./member-record.js";

type Status = MemberRecord["status"];

/** A server that this one knows. */
export interface KnownMember {
  readonly name: string;
  id: string;
  /** `host:port` of its RPC listener. */
  rpc: string;
  record: Pick<MemberRecord, "name" | "addr" | "port" | "tags" | "incarnation">;
  status: Status;
  /** On the table's clock: since when it has that status. */
  since: number;
  /** Probes in a row that it did not answer. */
  misses: number;
}

export type TableEvent = Exclude<MembershipEvent, { type: "user" }>;

export interface MemberTableOptions {
  /** Milliseconds for which a server that failed or left is remembered. */
  readonly reapAfter: number;
  readonly limit?: number;
  readonly now?: () => number;
}

/**
 * The other servers, by name. What a server says of itself is ordered by its incarnation: the newer wins, and of the same
 * the word that it left. Whether a server is alive or failed each server judges for itself; what others think of it counts
 * only for servers that were unknown.
 */
export class MemberTable {
  readonly #members = new Map<string, KnownMember>();
  readonly #now: () => number;
  readonly #limit: number;

  constructor(
    private readonly options: MemberTableOptions,
    private readonly onEvent: (event: TableEvent) => void,
  ) {
    this.#now = options.now ?? (() => performance.now());
    this.#limit = options.limit ?? MAX_MEMBERS;
  }

  get size(): number {
    return this.#members.size;
  }

  get(name: string): KnownMember | undefined {
    return this.#members.get(name);
  }

  all(): KnownMember[] {
    return [...this.#members.values()];
  }

  /** What this server tells others. */
  records(): MemberRecord[] {
    return this.all().map(({ record, status, since }) => ({
      ...record,
      status,
      age: Math.max(0, this.#now() - since),
    }));
  }

  /** Takes a record in. False where the table is full of servers that can't be forgotten. */
  merge(incoming: MemberRecord): boolean {
    const known = this.#members.get(incoming.name);
    if (known === undefined) return this.#add(incoming);
    const isNewer = incoming.incarnation > known.record.incarnation;
    const hasLeft =
      incoming.status === "left" &&
      known.status !== "left" &&
      incoming.incarnation === known.record.incarnation;
    if (hasLeft) this.#setStatus(known, "left", incoming.age);
    if (!isNewer) return true;
    const before = known.status;
    const changed = !sameSelf(known.record, incoming);
    Object.assign(known, said(incoming));
    // That it failed is this server's own judgement, which its next probe may change; that it left is not true any more.
    const status = incoming.status === "left" ? "left" : before === "left" ? incoming.status : before;
    if (status !== before) this.#setStatus(known, status, incoming.age);
    else if (changed) this.#tell("update", known);
    return true;
  }

  /** It was heard. */
  heard(member: KnownMember): void {
    member.misses = 0;
    if (member.status === "failed") this.#setStatus(member, "alive", 0);
  }

  /** It did not answer; after `limit` times in a row it counts as failed. */
  missed(member: KnownMember, limit: number): void {
    member.misses++;
    if (member.status === "alive" && member.misses >= limit) this.#setStatus(member, "failed", 0);
  }

  /** Declares it left: an operator's word, or its own. */
  left(member: KnownMember): void {
    this.#setStatus(member, "left", 0);
  }

  /** Forgets what failed or left long ago. */
  reap(): void {
    for (const member of this.#members.values()) {
      if (member.status !== "alive" && this.#now() - member.since > this.options.reapAfter) {
        this.#forget(member);
      }
    }
  }

  /** Equal for two tables that hold the same words of the same servers; `self` is this server's own record. */
  digest(self: Pick<MemberRecord, "name" | "incarnation">): number {
    let sum = crc32(`${self.name}\0${self.incarnation}\0`);
    for (const { name, record, status } of this.#members.values()) {
      sum += crc32(`${name}\0${record.incarnation}\0${status === "left" ? "left" : ""}`);
    }
    return sum;
  }

  #add(incoming: MemberRecord): boolean {
    const isGone = incoming.status !== "alive";
    // It would be forgotten at once, told again by others, and so on.
    if (isGone && incoming.age > this.options.reapAfter) return true;
    if (this.#members.size >= this.#limit) {
      const oldest = this.all()
        .filter(({ status }) => status !== "alive")
        .sort((a, b) => a.since - b.since)[0];
      if (oldest === undefined || isGone) return false;
      this.#forget(oldest);
    }
    const since = this.#now() - (isGone ? incoming.age : 0);
    const added: KnownMember = {
      name: incoming.name,
      ...said(incoming),
      status: incoming.status,
      since,
      misses: 0,
    };
    this.#members.set(added.name, added);
    this.#tell(incoming.status === "alive" ? "join" : incoming.status === "left" ? "leave" : "failed", added);
    return true;
  }

  #setStatus(member: KnownMember, status: Status, age: number): void {
    if (member.status === status) return;
    member.status = status;
    member.since = this.#now() - age;
    member.misses = 0;
    this.#tell(status === "alive" ? "join" : status === "left" ? "leave" : "failed", member);
  }

  #forget(member: KnownMember): void {
    this.#members.delete(member.name);
    this.#tell("reap", member);
  }

  #tell(type: TableEvent["type"], member: KnownMember): void {
    this.onEvent({ type, member: shown(member) });
  }
}

export function shown({ record, status }: KnownMember): AgentMember {
  return toAgentMember({ ...record, status });
}

/** What a record says of its server, without what its teller thinks of it. */
function said({
  name,
  addr,
  port,
  tags,
  incarnation,
}: MemberRecord): Pick<KnownMember, "id" | "rpc" | "record"> {
  const record = { name, addr, port, tags, incarnation };
  return { id: tags.id ?? "", rpc: recordAddress(record), record };
}

function sameSelf(a: KnownMember["record"], b: MemberRecord): boolean {
  const keys = new Set([...Object.keys(a.tags), ...Object.keys(b.tags)]);
  return a.addr === b.addr && a.port === b.port && [...keys].every((key) => a.tags[key] === b.tags[key]);
}
