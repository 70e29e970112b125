import type { AgentMember, Logger, MembershipEvent, RpcCaller, ServerNetwork } from "@drover/plugin-sdk";
import { EndpointError } from "@drover/plugin-sdk";
import { resolveAddress } from "./addresses.js";
import type { MemberList } from "./member-list.js";
import {
  decodeBody,
  type Exchange,
  encodeBody,
  exchangeSchema,
  MAX_MEMBERS,
  MEMBERS_PROTOCOL,
  type MemberRecord,
  type Probe,
  probeSchema,
  recordAddress,
  toAgentMember,
} from "./member-record.js";
import { type KnownMember, MemberTable, shown } from "./member-table.js";

const EXCHANGE = "Members.Exchange";
const PROBE = "Members.Probe";

/** What the log says of an event. */
const WORDS = {
  join: "a server is there",
  leave: "a server left",
  failed: "a server does not answer any more",
  reap: "a server that is gone is forgotten",
} as const;
/** Addresses that one `join` takes. */
const MAX_ADDRESSES = 256;
/** Calls of one round under way at the same time. */
const CONCURRENCY = 32;

export interface MembersTimes {
  /** Milliseconds between two probes of a server. */
  readonly probeInterval: number;
  /** Milliseconds that a probe waits for its answer. */
  readonly probeDeadline: number;
  /** Probes in a row without an answer after which a server counts as failed. */
  readonly missesToFail: number;
  /** Probes of a server that failed are made in every so many rounds. */
  readonly failedEvery: number;
  /** Milliseconds for the exchange of member lists. */
  readonly exchangeDeadline: number;
  /** Milliseconds for which a server that failed or left is remembered. */
  readonly reapAfter: number;
}

export const DEFAULT_MEMBERS_TIMES: MembersTimes = {
  probeInterval: 1_000,
  probeDeadline: 1_000,
  missesToFail: 4,
  failedEvery: 5,
  exchangeDeadline: 5_000,
  reapAfter: 24 * 3_600_000,
};

/** What this server says of itself. */
export type SelfRecord = Pick<MemberRecord, "name" | "addr" | "port" | "tags">;

/**
 * The servers of all regions, without a gossip plugin: every server probes every other one a second and judges for itself
 * who is alive; where the answer shows that the two don't know the same, they exchange their lists. That is a full mesh,
 * and made for the handful of servers that clusters have, not for their client nodes.
 */
export class Members implements MemberList {
  readonly #table: MemberTable;
  readonly #listeners = new Set<(event: MembershipEvent) => void>();
  readonly #probing = new Set<string>();
  readonly #times: MembersTimes;
  #self: MemberRecord;
  #state: "new" | "running" | "leaving" | "stopped" = "new";
  #timer: NodeJS.Timeout | undefined;
  #round = 0;
  #unhandle: (() => void)[] = [];
  /** What was logged of servers that are refused, so that a second's probes don't fill the log. */
  readonly #complained = new Map<string, number>();

  constructor(
    private readonly network: ServerNetwork,
    self: SelfRecord,
    private readonly log: Logger,
    times: Partial<MembersTimes> = {},
  ) {
    this.#times = { ...DEFAULT_MEMBERS_TIMES, ...times };
    this.#self = { ...self, incarnation: 1, status: "alive", age: 0 };
    this.#table = new MemberTable({ reapAfter: this.#times.reapAfter }, (event) => this.#tell(event));
  }

  start(): void {
    this.#state = "running";
    this.#unhandle = [
      this.network.handle(EXCHANGE, (body, caller, signal) => this.#onExchange(body, caller, signal), {
        otherRegions: true,
      }),
      this.network.handle(PROBE, (body, caller) => this.#onProbe(body, caller), { otherRegions: true }),
    ];
    this.#timer = setInterval(() => this.#probeAll(), this.#times.probeInterval).unref();
  }

  stop(): void {
    this.#state = "stopped";
    clearInterval(this.#timer);
    for (const unhandle of this.#unhandle.splice(0)) unhandle();
  }

  members(): readonly AgentMember[] {
    const status = this.#state === "leaving" ? "leaving" : this.#self.status;
    return [toAgentMember({ ...this.#self, status }), ...this.#table.all().map(shown)];
  }

  subscribe(listener: (event: MembershipEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async setTags(tags: Readonly<Record<string, string>>): Promise<void> {
    this.#self = { ...this.#self, tags: { ...tags }, incarnation: this.#self.incarnation + 1 };
    this.#tell({ type: "update", member: toAgentMember(this.#self) });
  }

  async join(addresses: readonly string[]): Promise<number> {
    if (addresses.length > MAX_ADDRESSES)
      throw new EndpointError(400, `${addresses.length} addresses are too many, at most ${MAX_ADDRESSES}`);
    const results = await inTurns(addresses, (address) => this.#joinOne(address));
    const failures = results.filter((result) => result !== undefined);
    if (addresses.length > 0 && failures.length === addresses.length)
      throw new EndpointError(500, failures.join("; "));
    for (const failure of failures) this.log.warn({}, `join: ${failure}`);
    return addresses.length - failures.length;
  }

  /** Undefined where one of the servers behind the address answered, else why not. */
  async #joinOne(written: string): Promise<string | undefined> {
    const failures: string[] = [];
    try {
      for (const address of await resolveAddress(written)) {
        if (address === recordAddress(this.#self)) return undefined;
        try {
          await this.#exchange(address);
          this.log.info({ address }, "joined a server");
          return undefined;
        } catch (error) {
          failures.push(`${address}: ${text(error)}`);
        }
      }
    } catch (error) {
      failures.push(text(error));
    }
    return `${written} could not be joined: ${failures.join(", ")}`;
  }

  async leave(): Promise<void> {
    if (this.#state !== "running") return;
    this.#state = "leaving";
    clearInterval(this.#timer);
    this.#self = { ...this.#self, status: "left", incarnation: this.#self.incarnation + 1 };
    const alive = this.#table.all().filter(({ status }) => status === "alive");
    await inTurns(alive, async ({ name, rpc }) => {
      try {
        await this.#send(rpc);
      } catch (error) {
        // It learns from those that were told, or sees this server fail.
        this.log.debug({ member: name, error: text(error) }, "a server was not told of the leaving");
      }
    });
  }

  async forceLeave(name: string): Promise<void> {
    if (name === this.#self.name) {
      throw new EndpointError(
        400,
        `${name} is this server itself: stop it with leave_on_interrupt or leave_on_terminate set`,
      );
    }
    const member = this.#table.get(name);
    if (member === undefined) throw new EndpointError(404, `no server is known by the name ${name}`);
    if (member.status === "alive") {
      throw new EndpointError(
        400,
        `${name} is alive: only a server that failed can be declared left; stop it first, or let it leave by itself`,
      );
    }
    this.#table.left(member);
    this.log.info({ member: name }, "server declared left by an operator");
  }

  // --- probing ------------------------------------------------------------------------------------------------------

  #probeAll(): void {
    const round = this.#round++;
    this.#table.reap();
    const due = this.#table
      .all()
      .filter(
        ({ name, status }) =>
          !this.#probing.has(name) &&
          (status === "alive" || (status === "failed" && round % this.#times.failedEvery === 0)),
      );
    for (const { name } of due) this.#probing.add(name);
    void inTurns(due, async (member) => {
      try {
        await this.#probe(member);
      } finally {
        this.#probing.delete(member.name);
      }
    });
  }

  async #probe(member: KnownMember): Promise<void> {
    let answer: Probe;
    try {
      answer = await this.#ask(member.rpc);
      if (answer.id !== member.id) {
        throw new Error(`server ${answer.id} (${answer.name}) answers at the address of ${member.id}`);
      }
    } catch (error) {
      if (this.#state !== "running") return;
      this.log.debug({ member: member.name, error: text(error) }, "probe failed");
      this.#table.missed(member, this.#times.missesToFail);
      return;
    }
    if (this.#state !== "running") return;
    this.#table.heard(member);
    if (answer.digest === this.#table.digest(this.#self)) return;
    try {
      await this.#exchange(member.rpc);
    } catch (error) {
      this.#complain(member.name, `lists of members not exchanged: ${text(error)}`);
    }
  }

  async #ask(address: string): Promise<Probe> {
    const body = encodeBody(this.#asProbe());
    const answer = await this.network.call(address, PROBE, body, {
      deadline: this.#times.probeDeadline,
      region: "*",
    });
    return decodeBody(probeSchema, answer, PROBE);
  }

  #asProbe(): Probe {
    return {
      version: MEMBERS_PROTOCOL,
      name: this.#self.name,
      id: this.#self.tags.id ?? "",
      rpc: recordAddress(this.#self),
      digest: this.#table.digest(this.#self),
    };
  }

  async #onProbe(body: Uint8Array, caller: RpcCaller): Promise<Uint8Array> {
    mustBeServer(caller, PROBE);
    decodeBody(probeSchema, body, PROBE);
    return encodeBody(this.#asProbe());
  }

  // --- exchange of lists --------------------------------------------------------------------------------------------

  /** Tells a server everything and learns everything it knows. */
  async #exchange(address: string): Promise<void> {
    const before = this.#self.incarnation;
    await this.#send(address);
    // It knew an earlier life of this server: now that this one speaks louder, it must hear that.
    if (this.#self.incarnation !== before) await this.#send(address);
  }

  async #send(address: string): Promise<void> {
    const answer = await this.network.call(address, EXCHANGE, encodeBody(this.#asExchange()), {
      deadline: this.#times.exchangeDeadline,
      region: "*",
    });
    const { from, others } = decodeBody(exchangeSchema, answer, EXCHANGE);
    this.#mergeAll([from, ...others]);
  }

  #asExchange(): Exchange {
    return { version: MEMBERS_PROTOCOL, from: { ...this.#self }, others: this.#table.records() };
  }

  async #onExchange(body: Uint8Array, caller: RpcCaller, signal: AbortSignal): Promise<Uint8Array> {
    mustBeServer(caller, EXCHANGE);
    const { from, others } = decodeBody(exchangeSchema, body, EXCHANGE);
    const { region } = from.tags;
    if (caller.identity !== undefined && caller.identity.region !== region) {
      throw new EndpointError(
        403,
        `the certificate of ${caller.address} is of region ${caller.identity.region}, and the server calls itself ${from.name} of region ${region}`,
      );
    }
    await this.#mustBeOnlyOne(from);
    // Meanwhile the caller may have gone: what it said is as good.
    signal.throwIfAborted();
    const knewItsPlace = this.#mergeAll([from, ...others]);
    if (!knewItsPlace)
      throw new EndpointError(
        503,
        `${this.#self.name} knows ${MAX_MEMBERS} servers already and takes no more in`,
      );
    return encodeBody(this.#asExchange());
  }

  /** Merges records, the first being who speaks; whether there was room for that one. */
  #mergeAll([from, ...others]: readonly MemberRecord[]): boolean {
    if (from === undefined || this.#state === "stopped") return true;
    const hasRoom = this.#merge(from);
    for (const record of others) this.#merge(record);
    // Who speaks is alive, whatever was thought of it.
    const known = this.#table.get(from.name);
    if (
      known !== undefined &&
      known.status === "failed" &&
      from.status === "alive" &&
      known.id === from.tags.id
    )
      this.#table.heard(known);
    return hasRoom;
  }

  #merge(record: MemberRecord): boolean {
    if (record.name !== this.#self.name) return this.#table.merge(record);
    const { incarnation, tags } = this.#self;
    if (record.incarnation < incarnation || this.#state !== "running") return true;
    const isOwnWord =
      record.incarnation === incarnation &&
      record.status !== "left" &&
      record.tags.id === tags.id &&
      recordAddress(record) === recordAddress(this.#self);
    if (isOwnWord) return true;
    // An earlier life of this server, one of its name before it, or somebody gave it up: it is alive and says so.
    this.#self = { ...this.#self, incarnation: record.incarnation + 1 };
    return true;
  }

  /**
   * Refuses a server whose id or name is in use by another one that is alive, wherever it now is: two servers with one id
   * would vote twice.
   */
  async #mustBeOnlyOne(from: MemberRecord): Promise<void> {
    const rpc = recordAddress(from);
    const id = from.tags.id ?? "";
    const own = { id: this.#self.tags.id ?? "", name: this.#self.name, rpc: recordAddress(this.#self) };
    const others = [own, ...this.#table.all().filter(({ status }) => status === "alive")];
    for (const other of others) {
      if (other.rpc === rpc || (other.id !== id && other.name !== from.name)) continue;
      if (other !== own && !(await this.#isStill(other.rpc, other.id))) continue;
      const message =
        other.id === id
          ? `server id ${id} is in use by ${other.name} at ${other.rpc}: ${from.name} at ${rpc} must not have a copy of its data_dir (give it an empty one, or another node-id)`
          : `the name ${from.name} is in use by the server ${other.id} at ${other.rpc}: give the server at ${rpc} another name`;
      this.#complain(`${from.name} ${rpc}`, `a server is refused: ${message}`);
      throw new EndpointError(409, message);
    }
  }

  /** Whether the server `id` answers at that address now. */
  async #isStill(rpc: string, id: string): Promise<boolean> {
    try {
      return (await this.#ask(rpc)).id === id;
    } catch {
      // No answer is the answer: it is not there any more.
      return false;
    }
  }

  #complain(about: string, message: string): void {
    const now = performance.now();
    for (const [key, at] of this.#complained) if (now - at > 60_000) this.#complained.delete(key);
    if (this.#complained.has(about) || this.#complained.size >= MAX_MEMBERS) return;
    this.#complained.set(about, now);
    this.log.warn({ member: about }, message);
  }

  #tell(event: MembershipEvent): void {
    if (event.type !== "user" && event.type !== "update")
      this.log.info({ member: event.member.Name, status: event.member.Status }, WORDS[event.type]);
    for (const listener of this.#listeners) listener(event);
  }
}

/** Lists of servers are for servers. */
function mustBeServer({ address, identity }: RpcCaller, method: string): void {
  if (identity?.role !== "client") return;
  throw new EndpointError(403, `${method} is for servers, and the certificate of ${address} is a client's`);
}

/** Runs `work` for each, some at a time, and gives the results in order. */
async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const worker = async (): Promise<void> => {
    for (const [at, item] of entries) results[at] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, worker));
  return results;
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
