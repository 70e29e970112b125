/** The conversation with the servers: registration, heartbeats, and what the node should run. */
import {
  type AgentLink,
  type AssignmentDelta,
  type Logger,
  type Metrics,
  type Node,
  RemoteError,
} from "@drover/plugin-sdk";
import { monotonic, sleep } from "../clock.js";

/** Pause after a failure, doubled up to the last, milliseconds. */
const RETRY_FIRST = 500;
const RETRY_LAST = 15_000;
/** Part of the TTL after which a heartbeat is sent: between these two. */
const HEARTBEAT_FROM = 0.4;
const HEARTBEAT_TO = 0.6;
/** Assignments are pulled without being told after this long, where the servers' index moved: a lost push heals. */
const PULL_EVERY = 30_000;

export interface SessionOptions {
  readonly link: AgentLink;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly node: () => Node;
  /** Allocations that are here: id to AllocModifyIndex. */
  readonly known: () => Readonly<Record<string, number>>;
  readonly apply: (delta: AssignmentDelta) => Promise<void>;
}

export class ServerSession {
  private current = new AbortController();
  private readonly closed = new AbortController();
  private registerWanted = false;
  private beat = new AbortController();
  private pulledAt = Number.NEGATIVE_INFINITY;
  private index = 0;
  private contactAt: number | undefined;
  private isRegistered = false;
  private ttl = 0;
  private lastProblem = "not connected to a server yet";

  constructor(private readonly options: SessionOptions) {}

  /** Registered over the link that is up now. */
  get registered(): boolean {
    return this.isRegistered;
  }

  /** Why it isn't registered. */
  get problem(): string {
    return this.lastProblem;
  }

  /** The last that a server gave, milliseconds; 0 before the first. */
  get heartbeatTtl(): number {
    return this.ttl;
  }

  /** Milliseconds since a server last answered; undefined before the first time. */
  get silence(): number | undefined {
    return this.contactAt === undefined ? undefined : monotonic() - this.contactAt;
  }

  connection(connected: boolean): void {
    this.current.abort();
    this.isRegistered = false;
    if (!connected || this.closed.signal.aborted) {
      this.lastProblem = "the connection to the servers is down; tasks keep running";
      return;
    }
    this.current = new AbortController();
    void this.run(this.current.signal);
  }

  /** The node changed: registers again soon. */
  nodeChanged(): void {
    this.registerWanted = true;
    this.beat.abort();
  }

  /** An assignment was pushed: applies it. */
  async pushed(delta: AssignmentDelta): Promise<void> {
    this.contactAt = monotonic();
    this.index = Math.max(this.index, delta.index);
    await this.options.apply(delta);
  }

  close(): void {
    this.closed.abort();
    this.current.abort();
    this.beat.abort();
  }

  private async run(signal: AbortSignal): Promise<void> {
    let pause = RETRY_FIRST;
    while (!signal.aborted) {
      try {
        const ttl = await this.register();
        await this.heartbeat(ttl);
        await this.pull();
        pause = RETRY_FIRST;
        await this.keepAlive(ttl, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.isRegistered = false;
        this.lastProblem = error instanceof Error ? error.message : String(error);
        this.options.log.warn({ error: this.lastProblem }, "no agreement with the servers, trying again");
        await sleep(pause * (0.75 + Math.random() / 2), signal);
        pause = Math.min(pause * 2, RETRY_LAST);
      }
    }
  }

  /** Answers the TTL, milliseconds. */
  private async register(): Promise<number> {
    this.registerWanted = false;
    const { heartbeatTTL } = await this.options.link.call("node.register", { node: this.options.node() });
    this.contactAt = monotonic();
    this.ttl = heartbeatTTL;
    this.isRegistered = true;
    this.options.log.info({ ttl: heartbeatTTL }, "node registered");
    return heartbeatTTL;
  }

  private async heartbeat(ttl: number): Promise<{ ttl: number; index: number }> {
    const started = monotonic();
    const timeout = Math.max(1000, Math.min(10_000, ttl / 2));
    const answer = await this.options.link.call("node.heartbeat", { status: "ready" }, { timeout });
    this.options.metrics.sample("nomad.client.heartbeat", monotonic() - started);
    this.contactAt = monotonic();
    return { ttl: answer.heartbeatTTL, index: answer.index };
  }

  private async pull(): Promise<void> {
    const delta = await this.options.link.call("assignment.pull", { known: this.options.known() });
    this.pulledAt = monotonic();
    await this.pushed(delta);
  }

  /** Heartbeats until the link breaks; rejects when a server no longer wants to know the node. */
  private async keepAlive(firstTtl: number, signal: AbortSignal): Promise<void> {
    let ttl = firstTtl;
    let due = monotonic() + this.interval(ttl);
    while (!signal.aborted) {
      this.beat = new AbortController();
      if (this.registerWanted) ttl = await this.register();
      await sleep(due - monotonic(), AbortSignal.any([signal, this.beat.signal]));
      if (signal.aborted) return;
      if (this.registerWanted) continue;
      const missed = this.silence ?? 0;
      try {
        const answer = await this.heartbeat(ttl);
        ttl = answer.ttl;
        due = monotonic() + this.interval(ttl);
        // Silent for so long that the servers have marked the node down: they need to hear all of it again.
        if (missed > ttl) this.registerWanted = true;
        if (answer.index > this.index && monotonic() - this.pulledAt > PULL_EVERY) await this.pull();
      } catch (error) {
        if (!(error instanceof RemoteError) || !TRANSIENT.includes(error.code)) throw error;
        this.options.log.debug({ error: error.message }, "heartbeat not answered, trying again");
        due = monotonic() + Math.min(1000, ttl / 10);
      }
    }
  }

  private interval(ttl: number): number {
    return ttl * (HEARTBEAT_FROM + Math.random() * (HEARTBEAT_TO - HEARTBEAT_FROM));
  }
}

/** Codes of errors that say nothing about the node. */
const TRANSIENT = ["unreachable", "timeout", "lost"];
