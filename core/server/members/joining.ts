/** Finds the other servers when this one starts: by the configuration, by plugins, and by what consensus remembers. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentMember, Logger, ServerConfiguration, ServerDiscovery } from "@drover/plugin-sdk";
import { withDeadline } from "../../kernel/deadline.js";
import type { MemberList } from "./member-list.js";

/** Milliseconds that a discovery plugin has to answer. */
const DISCOVERY_DEADLINE = 10_000;
/** Addresses taken from one source. */
const MAX_FOUND = 256;

export interface JoiningParts {
  readonly members: Pick<MemberList, "members" | "join">;
  readonly discoveries: readonly ServerDiscovery[];
  readonly settings: ServerConfiguration["server_join"];
  /** Addresses of servers that this one has been in a cluster with, `host:port`. */
  peers(): readonly string[];
  /** `<node>.<region>` of this server. */
  readonly name: string;
  readonly log: Logger;
  /** Told when `retry_max` tries failed: the agent is to end. */
  fatal(error: Error): void;
}

/** Joins other servers once at start (`start_join`), and until one was found (`retry_join`, discovery, former peers). */
export class Joining {
  readonly #ended = new AbortController();
  #running: Promise<void> | undefined;

  constructor(private readonly parts: JoiningParts) {}

  /** Joins the servers of `start_join`; rejects when none of them answers. Goes on with the others by itself. */
  async start(): Promise<void> {
    const { members, settings, log } = this.parts;
    if (settings.start_join.length > 0) {
      try {
        const joined = await members.join(settings.start_join);
        log.info({ servers: joined }, "joined at start");
      } catch (error) {
        throw new Error(
          `none of the servers of start_join could be joined: ${text(error)}; use retry_join where servers start together`,
          { cause: error },
        );
      }
    }
    this.#running = this.#retry();
  }

  /** Gives up what is under way. */
  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#running;
  }

  async #retry(): Promise<void> {
    const { settings, log, fatal } = this.parts;
    const { signal } = this.#ended;
    for (let tries = 1; !signal.aborted; tries++) {
      let why: string;
      try {
        if (await this.#tryOnce(signal)) return;
        why = "no other server was found";
      } catch (error) {
        why = text(error);
      }
      if (signal.aborted) return;
      // Without addresses in the configuration there is nothing that had to be found.
      if (settings.retry_max > 0 && tries >= settings.retry_max && settings.retry_join.length > 0) {
        fatal(new Error(`max join retry exhausted after ${tries} tries: ${why}`));
        return;
      }
      log.warn(
        { tries, again_in_ms: settings.retry_interval, why },
        "no server could be joined; tried again",
      );
      await sleep(settings.retry_interval, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** True where there is nobody to be found, or somebody was. */
  async #tryOnce(signal: AbortSignal): Promise<boolean> {
    const { settings, members, peers, discoveries } = this.parts;
    const found = await this.#discover(signal);
    const addresses = [...new Set([...settings.retry_join, ...peers().slice(0, MAX_FOUND), ...found])];
    if (this.#hasOthers()) return true;
    if (addresses.length === 0) return discoveries.length === 0;
    const joined = await members.join(addresses.slice(0, MAX_FOUND));
    // All of them are this server itself: it is alone, as its configuration has it.
    return this.#hasOthers() || joined === addresses.length;
  }

  async #discover(signal: AbortSignal): Promise<string[]> {
    const { discoveries, log } = this.parts;
    const answers = await Promise.all(
      discoveries.map(async (plugin) => {
        try {
          const late = AbortSignal.any([signal, AbortSignal.timeout(DISCOVERY_DEADLINE)]);
          // One that does not heed the signal must not hold up the others.
          const found = await withDeadline(DISCOVERY_DEADLINE, "discovery", () => plugin.discover(late));
          return found.slice(0, MAX_FOUND);
        } catch (error) {
          log.warn({ discovery: plugin.name, error: text(error) }, "servers could not be discovered");
          return [];
        }
      }),
    );
    return answers.flat();
  }

  #hasOthers(): boolean {
    const { members, name } = this.parts;
    return members.members().some(({ Name, Status }: AgentMember) => Name !== name && Status === "alive");
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
