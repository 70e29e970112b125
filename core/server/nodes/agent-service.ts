import {
  type AgentServerHandler,
  type AgentTransport,
  type Consensus,
  type Logger,
  type StateReader,
  StateTable,
} from "@drover/plugin-sdk";
import type { ClusterKey } from "./cluster-key.js";

/** Milliseconds between tries, up to; jittered, because servers that start together need the same thing of each other. */
const RETRY = 500;

export interface AgentServiceParts {
  readonly consensus: Consensus;
  readonly state: StateReader;
  readonly transport: AgentTransport;
  readonly gate: AgentServerHandler;
  readonly key: ClusterKey;
  readonly log: Logger;
}

/**
 * Serves agents for as long as this server may: it holds the cluster's key, and where all servers share one broker it leads.
 * One step at a time, in the order in which the reasons come.
 */
export class AgentService {
  #serving = false;
  #stopped = false;
  #wake: (() => void) | undefined;
  /** A reason came while a step was under way. */
  #woken = false;
  #retry: NodeJS.Timeout | undefined;
  #remove: (() => void)[] = [];

  constructor(private readonly parts: AgentServiceParts) {}

  /** Begins; resolves once agents are served as far as this server may. */
  start(): Promise<void> {
    const { consensus, state } = this.parts;
    const settled = new Promise<void>((resolve) => void this.#run(resolve));
    this.#remove = [
      consensus.onLeadership(() => this.#again()),
      state.onApplied((_, tables) => {
        if (tables.has(StateTable.PluginRows)) this.#again();
      }),
    ];
    return settled;
  }

  /** A step that is under way ends by itself; the transport's own end ends the serving. */
  stop(): void {
    this.#stopped = true;
    for (const remove of this.#remove.splice(0)) remove();
    this.#again();
  }

  #again(): void {
    this.#woken = true;
    this.#wake?.();
  }

  async #run(settled: () => void): Promise<void> {
    while (!this.#stopped) {
      this.#woken = false;
      const done = await this.#step().catch((error: unknown) => {
        this.parts.log.warn(
          { error: error instanceof Error ? error.message : String(error) },
          "agents can't be served yet; trying again",
        );
        return false;
      });
      if (done) settled();
      else this.#retry = setTimeout(() => this.#again(), RETRY * (0.5 + Math.random() / 2));
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#woken || this.#stopped) resolve();
      });
      this.#wake = undefined;
      clearTimeout(this.#retry);
    }
    settled();
  }

  /** True where nothing is to be done until something changes. */
  async #step(): Promise<boolean> {
    const { consensus, gate, key, transport } = this.parts;
    if (transport.shared && !consensus.isLeader()) {
      await this.#unserve();
      // It may have to serve at any time: it gets the key while it can.
      return key.acquire(async () => undefined);
    }
    if (!(await key.acquire(() => this.#unserve()))) return false;
    if (this.#serving || this.#stopped) return true;
    await transport.serve(gate);
    this.#serving = true;
    return true;
  }

  async #unserve(): Promise<void> {
    if (!this.#serving) return;
    this.#serving = false;
    await this.parts.transport.unserve();
  }
}
