import { setTimeout as delay } from "node:timers/promises";
import type { Server } from "../servers.js";
import type { Leading } from "./history.js";

const INTERVAL = 100;

/** Who led in which term, as the servers say themselves: in their stats, asked for all the time, and in their logs. */
export class LeaderWatch {
  readonly #seen: Leading[] = [];
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(private readonly servers: readonly Server[]) {}

  start(): void {
    this.#running = Promise.all(this.servers.map((server) => this.#watch(server)));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  leaders(): Leading[] {
    const logged = this.servers.flatMap(({ name, lives }) =>
      lives.flatMap(({ output }) =>
        [...output.matchAll(/cluster leadership acquired:?.*\bterm=(\d+)/g)].map(([, term]) => ({
          server: name,
          term: Number(term),
        })),
      ),
    );
    return [...logged, ...this.#seen];
  }

  async #watch({ name, address }: Server): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(5_000)]);
      try {
        const answer = await fetch(`${address}/v1/agent/self`, { signal });
        const { stats } = (await answer.json()) as { stats: { raft: { state: string; term: string } } };
        if (stats.raft.state === "Leader") this.#seen.push({ server: name, term: Number(stats.raft.term) });
      } catch (error) {
        // It is down, or paused.
        if (!(error instanceof TypeError) && !["TimeoutError", "AbortError"].includes((error as Error).name))
          throw error;
      }
      await delay(INTERVAL);
    }
  }
}
