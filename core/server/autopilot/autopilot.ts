import type {
  AgentMember,
  Consensus,
  Logger,
  Metrics,
  OperatorHealthReply,
  StateReader,
} from "@drover/plugin-sdk";
import { NotLeaderError } from "@drover/plugin-sdk";
import { deadServers } from "./dead-servers.js";
import { ServerHealths, type ServersSeen } from "./server-health.js";
import { milliseconds } from "./settings.js";

/** Milliseconds between two looks at the servers. */
const INTERVAL = 2_000;

export interface AutopilotParts {
  readonly consensus: Consensus;
  readonly state: StateReader;
  /** Servers of this region. */
  members(): readonly AgentMember[];
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Milliseconds; default 2,000. */
  readonly interval?: number;
}

/**
 * What the leader does for the servers of its cluster by itself: watches their health, gives a vote to those that have been
 * healthy for ServerStabilizationTime, and removes failed ones where the others keep a quorum.
 */
export class Autopilot {
  readonly #healths = new ServerHealths();
  #timer: NodeJS.Timeout | undefined;
  /** Which term of leadership a change belongs to; changes of an ended one are not begun. */
  #epoch = 0;
  #isChanging = false;
  #kept = "";

  constructor(private readonly parts: AutopilotParts) {}

  /** On becoming leader. */
  start(): void {
    this.stop();
    this.#timer = setInterval(() => this.#look(), this.parts.interval ?? INTERVAL).unref();
    this.#look();
  }

  stop(): void {
    this.#epoch++;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#healths.clear();
    this.#kept = "";
  }

  /** Rejects with `NotLeaderError` on a server that does not lead. */
  async health(): Promise<OperatorHealthReply> {
    const { consensus } = this.parts;
    if (!consensus.isLeader()) throw new NotLeaderError(consensus.leader());
    const seen = this.#see();
    this.#healths.observe(seen);
    return this.#healths.report(seen);
  }

  #see(): ServersSeen {
    const { consensus, state, members } = this.parts;
    using snapshot = state.snapshot();
    return {
      peers: consensus.peers(),
      progress: consensus.progress(),
      members: members(),
      settings: snapshot.autopilotConfiguration(),
    };
  }

  #look(): void {
    const { consensus, log, metrics } = this.parts;
    if (!consensus.isLeader()) return;
    const seen = this.#see();
    this.#healths.observe(seen);
    const { Healthy, FailureTolerance } = this.#healths.report(seen);
    metrics.gauge("nomad.autopilot.healthy", Healthy ? 1 : 0);
    metrics.gauge("nomad.autopilot.failure_tolerance", FailureTolerance);
    if (consensus.membership === undefined || this.#isChanging) return;
    this.#isChanging = true;
    this.#change(seen, this.#epoch)
      .catch((error: unknown) =>
        log.warn({ error: text(error) }, "autopilot: the change was not made; tried again"),
      )
      .finally(() => {
        this.#isChanging = false;
      });
  }

  async #change(seen: ServersSeen, epoch: number): Promise<void> {
    await this.#promote(seen, epoch);
    await this.#cleanUp(seen, epoch);
  }

  async #promote({ peers, settings }: ServersSeen, epoch: number): Promise<void> {
    const { consensus, log } = this.parts;
    const stable = milliseconds(settings.ServerStabilizationTime);
    for (const { id, address, voter } of peers) {
      if (voter || this.#healths.stableFor(id) < stable || epoch !== this.#epoch) continue;
      await consensus.membership!.promote(id);
      log.info({ server: id, address }, "autopilot: a server that is stable has its vote now");
    }
  }

  async #cleanUp({ peers, members, settings }: ServersSeen, epoch: number): Promise<void> {
    const { consensus, log } = this.parts;
    if (!settings.CleanupDeadServers) return;
    const silence = milliseconds(settings.ServerStabilizationTime);
    const { removable, kept } = deadServers(
      peers,
      members,
      settings,
      (id) => this.#healths.stableFor(id, false) >= silence,
    );
    // Once for each reason: this is looked at every two seconds.
    if (kept !== undefined && kept !== this.#kept)
      log.warn({ why: kept }, "autopilot: failed servers are not removed");
    this.#kept = kept ?? "";
    for (const { id, address } of removable) {
      if (epoch !== this.#epoch) return;
      log.info({ server: id, address }, "autopilot: removing a failed server");
      await consensus.membership!.remove(id);
    }
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
