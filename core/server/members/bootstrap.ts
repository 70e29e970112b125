/** How servers that are started together begin one cluster, and never two. */
import type { AgentMember, Consensus, Logger, ServerNetwork } from "@drover/plugin-sdk";
import { z } from "zod";
import { Coalesced } from "../coalesced.js";
import { rpcAddress } from "./addresses.js";
import type { MemberList } from "./member-list.js";
import { decodeBody, encodeBody, MAX_MEMBERS, MEMBERS_PROTOCOL } from "./member-record.js";

const ASK = "Members.Bootstrap";

export interface BootstrapTimes {
  /** Milliseconds between two attempts. */
  readonly interval: number;
  /** Milliseconds that servers have to answer. */
  readonly deadline: number;
  /**
   * Milliseconds for which a server that said yes says yes to nobody else, unless the asker takes its question back. Many
   * times the time that an attempt can take.
   */
  readonly promise: number;
}

export const DEFAULT_BOOTSTRAP_TIMES: BootstrapTimes = { interval: 1_000, deadline: 3_000, promise: 60_000 };

const id = z.string().min(1).max(128);
const askSchema = z.object({
  version: z.number(),
  id,
  name: z.string().max(300),
  expect: z.number().int().min(1),
  /** Every server of the region that the asker knows to be alive, itself included, in order. */
  ids: z.array(id).max(MAX_MEMBERS),
  /** The attempt is over: a promise given for it is free again. */
  withdrawn: z.boolean(),
});
type Ask = z.output<typeof askSchema>;

const answerSchema = z.object({
  version: z.number(),
  id,
  bootstrapped: z.boolean(),
  /** Empty: it agrees. */
  why: z.string().max(2_000),
});

export interface BootstrapParts {
  readonly consensus: Consensus;
  readonly network: ServerNetwork;
  readonly members: Pick<MemberList, "members" | "subscribe">;
  readonly region: string;
  /** `<node>.<region>` of this server. */
  readonly name: string;
  /** `host:port` of this server's RPC listener. */
  readonly address: string;
  /** `bootstrap_expect`; 0: this server begins no cluster, and waits to be taken into one. */
  readonly expect: number;
  readonly log: Logger;
  readonly times?: Partial<BootstrapTimes>;
}

/**
 * Begins the cluster once `bootstrap_expect` servers of the region know each other. Of servers that all know the same
 * servers the one with the lowest id begins it, after each of them has said that it belongs to no cluster, expects as many,
 * knows the same, is not asking itself, and has promised itself to no other asker. The others learn of it through the log.
 */
export class Bootstrap {
  readonly #times: BootstrapTimes;
  readonly #turn: Coalesced;
  #timer: NodeJS.Timeout | undefined;
  #unhandle: (() => void)[] = [];
  #isAsking = false;
  #stopped = false;
  #promised: { readonly id: string; readonly until: number } | undefined;
  #said = "";

  constructor(private readonly parts: BootstrapParts) {
    this.#times = { ...DEFAULT_BOOTSTRAP_TIMES, ...parts.times };
    this.#turn = new Coalesced(
      Math.min(20, this.#times.interval),
      () => this.#attempt(),
      (error) => parts.log.error({ error: text(error) }, "bootstrapping failed; tried again"),
    );
  }

  /** Answers other servers, and begins to try where this server is in no cluster. Alone it begins its cluster at once. */
  async start(): Promise<void> {
    const { consensus, network, members, expect, address, log } = this.parts;
    const { membership } = consensus;
    if (membership === undefined) return;
    this.#unhandle.push(network.handle(ASK, async (body) => this.#onAsk(decodeBody(askSchema, body, ASK))));
    if (membership.bootstrapped() || expect === 0) return;
    if (expect === 1) {
      await membership.bootstrap([{ id: consensus.id, address }]);
      return;
    }
    if (expect % 2 === 0) {
      log.warn(
        { bootstrap_expect: expect },
        "WARNING: Number of bootstrap servers should ideally be set to an odd number.",
      );
    }
    this.#unhandle.push(members.subscribe(() => this.#turn.request()));
    this.#timer = setInterval(() => this.#turn.request(), this.#times.interval).unref();
    this.#turn.request();
  }

  stop(): void {
    this.#stopped = true;
    this.#turn.cancel();
    clearInterval(this.#timer);
    for (const unhandle of this.#unhandle.splice(0)) unhandle();
  }

  async #attempt(): Promise<void> {
    const { consensus, expect } = this.parts;
    const membership = consensus.membership!;
    if (this.#stopped) return;
    if (membership.bootstrapped()) {
      clearInterval(this.#timer);
      return;
    }
    const servers = this.#servers();
    const candidates = servers.filter((server) => expectOf(server) === expect);
    if (this.#conflicting(servers)) return;
    if (candidates.length < expect) {
      this.#say(`${candidates.length} of ${expect} servers are there`);
      return;
    }
    if (candidates[0]!.Tags.id !== consensus.id) {
      this.#say(`${candidates[0]!.Name} has the lowest id and begins the cluster`);
      return;
    }
    if (this.#promisedTo() !== undefined) return;
    this.#isAsking = true;
    try {
      await this.#ask(servers, candidates);
    } finally {
      this.#isAsking = false;
    }
  }

  async #ask(servers: readonly AgentMember[], candidates: readonly AgentMember[]): Promise<void> {
    const { consensus, expect, name, address, log } = this.parts;
    const others = servers.filter(({ Tags }) => Tags.id !== consensus.id);
    const question: Ask = {
      version: MEMBERS_PROTOCOL,
      id: consensus.id,
      name,
      expect,
      ids: idsOf(servers),
      withdrawn: false,
    };
    const answers = await Promise.all(others.map((member) => this.#askOne(member, question)));
    const refused = answers.find((why) => why !== "");
    const isSame = sameIds(question.ids, idsOf(this.#servers()));
    if (refused !== undefined || !isSame || this.#stopped || consensus.membership!.bootstrapped()) {
      this.#say(refused ?? "other servers are known than a moment ago");
      await Promise.all(others.map((member) => this.#askOne(member, { ...question, withdrawn: true })));
      return;
    }
    const first = candidates.slice(0, expect).map((member) => ({
      id: member.Tags.id!,
      address: member.Tags.id === consensus.id ? address : rpcAddress(member),
    }));
    await consensus.membership!.bootstrap(first);
    clearInterval(this.#timer);
    log.info({ servers: first.map((server) => server.address) }, "cluster bootstrapped");
  }

  /** Why the server does not agree; empty where it does. */
  async #askOne(member: AgentMember, question: Ask): Promise<string> {
    const { network } = this.parts;
    try {
      const body = await network.call(rpcAddress(member), ASK, encodeBody(question), {
        deadline: this.#times.deadline,
      });
      const answer = decodeBody(answerSchema, body, ASK);
      if (answer.id !== member.Tags.id) return `another server answers at ${rpcAddress(member)}`;
      return answer.bootstrapped ? `${member.Name} belongs to a cluster already` : answer.why;
    } catch (error) {
      return `${member.Name} did not answer: ${text(error)}`;
    }
  }

  #onAsk(ask: Ask): Uint8Array {
    const { consensus } = this.parts;
    const answer = (why: string): Uint8Array =>
      encodeBody({
        version: MEMBERS_PROTOCOL,
        id: consensus.id,
        bootstrapped: consensus.membership!.bootstrapped(),
        why,
      });
    if (ask.withdrawn) {
      if (this.#promised?.id === ask.id) this.#promised = undefined;
      return answer("");
    }
    const why = this.#whyNot(ask);
    if (why === "") this.#promised = { id: ask.id, until: performance.now() + this.#times.promise };
    return answer(why);
  }

  #whyNot(ask: Ask): string {
    const { consensus, expect, name, log } = this.parts;
    if (consensus.membership!.bootstrapped()) return `${name} belongs to a cluster already`;
    if (expect !== 0 && ask.expect !== expect) {
      const why = conflict({ name, expect }, ask);
      this.#say(why, () => log.error({}, why));
      return why;
    }
    if (this.#isAsking) return `${name} is asking itself`;
    const promised = this.#promisedTo();
    if (promised !== undefined && promised !== ask.id) return `${name} has promised itself to ${promised}`;
    return sameIds(ask.ids, idsOf(this.#servers())) ? "" : `${name} does not know the same servers yet`;
  }

  #promisedTo(): string | undefined {
    if (this.#promised !== undefined && this.#promised.until < performance.now()) this.#promised = undefined;
    return this.#promised?.id;
  }

  /** Servers of the region that are alive, by id. */
  #servers(): AgentMember[] {
    const { members, region } = this.parts;
    return serversOf(members.members(), region).filter(({ Status }) => Status === "alive");
  }

  #conflicting(servers: readonly AgentMember[]): boolean {
    const { expect, name, log } = this.parts;
    const other = servers.find((server) => expectOf(server) !== 0 && expectOf(server) !== expect);
    if (other === undefined) return false;
    const why = conflict({ name, expect }, { name: other.Name, expect: expectOf(other) });
    this.#say(why, () => log.error({}, why));
    return true;
  }

  /** Logs what it waits for, once until it waits for something else. */
  #say(why: string, say = () => this.parts.log.info({ why }, "no cluster is begun yet")): void {
    if (why === this.#said) return;
    this.#said = why;
    say();
  }
}

/** Members that are servers of the region, by id. */
export function serversOf(members: readonly AgentMember[], region: string): AgentMember[] {
  return members
    .filter(({ Tags }) => Tags.role === "nomad" && Tags.region === region && Tags.id !== undefined)
    .sort((a, b) => (a.Tags.id! < b.Tags.id! ? -1 : 1));
}

const expectOf = ({ Tags }: AgentMember): number => Number(Tags.expect ?? 0);

const idsOf = (servers: readonly AgentMember[]): string[] => servers.map(({ Tags }) => Tags.id!);

const sameIds = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one, at) => one === b[at]);

interface Expecting {
  readonly name: string;
  readonly expect: number;
}

const conflict = (a: Expecting, b: Expecting): string =>
  `bootstrap_expect of ${a.name} is ${a.expect}, that of ${b.name} is ${b.expect}: no cluster is begun until all servers expect the same number`;

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
