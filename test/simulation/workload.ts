import type { Operation } from "./linearizability.js";
import { type Command, encodeCommand } from "./machine.js";
import type { SimulatedServer, World } from "./server.js";

interface Recorded {
  readonly key: string;
  readonly kind: Operation["kind"];
  value: string;
  readonly called: number;
  returned: number;
}

/** How long a client waits for an answer before it goes on with something else. */
const PATIENCE = 400;

/** Clients that read and write through any server, and the history of what they saw. */
export class Workload {
  readonly keys: readonly string[];
  readonly #history = new Set<Recorded>();
  /** Order of calls and returns. */
  #order = 0;
  #values = 0;
  #running = true;

  constructor(
    private readonly world: World,
    clients: number,
    keys: number,
  ) {
    this.keys = Array.from({ length: keys }, (_, position) => `k${position}`);
    for (let client = 0; client < clients; client++) this.#next();
  }

  get history(): readonly Operation[] {
    return [...this.#history];
  }

  stop(): void {
    this.#running = false;
  }

  #next(): void {
    const { random, events } = this.world;
    events.after(random.exponential(12), () => {
      if (this.#running) this.#act();
    });
  }

  #act(): void {
    const { random } = this.world;
    const reads = random.chance(0.5);
    const key = random.pick(this.keys);
    const server = this.#choose(reads);
    if (server === undefined) {
      this.#next();
      return;
    }
    // Once: by the answer or by the end of patience.
    let waiting = true;
    const proceed = (): void => {
      if (waiting) this.#next();
      waiting = false;
    };
    this.world.events.after(PATIENCE, () => {
      if (waiting) this.world.coverage.unknown++;
      proceed();
    });
    if (reads) this.read(server, key, proceed);
    else {
      const kind = random.chance(0.15) ? "write" : "append";
      if (!this.write(server, { kind, key, value: `v${++this.#values}` }, proceed)) proceed();
    }
  }

  /** Readers ask any server, writers mostly the leader, sometimes one that only was it. */
  #choose(reads: boolean): SimulatedServer | undefined {
    const { random, servers, events } = this.world;
    const able = servers.filter((server) => server.running && server.stoppedUntil <= events.now);
    if (able.length === 0) return undefined;
    if (reads && random.chance(0.6)) return random.pick(able);
    const leaders = able.filter((server) => server.core!.role === "leader");
    return leaders.length > 0 ? random.pick(leaders) : random.pick(able);
  }

  /** Gives false when the server refused it; nothing happened then. */
  write(server: SimulatedServer, command: Command, done: (committed: boolean) => void): boolean {
    const recorded = this.record(command.key, command.kind, command.value);
    const accepted = server.propose(
      (core) => core.propose([encodeCommand(command)]),
      (committed) => {
        this.finish(recorded, committed);
        if (committed) this.world.coverage.writes++;
        done(committed);
      },
    );
    if (!accepted) this.#history.delete(recorded);
    return accepted;
  }

  read(server: SimulatedServer, key: string, done: (answered: boolean) => void): void {
    const recorded = this.record(key, "read", "");
    server.read(key, (value) => {
      recorded.value = value ?? "";
      this.finish(recorded, value !== null);
      if (value !== null) this.world.coverage.reads++;
      done(value !== null);
    });
  }

  record(key: string, kind: Operation["kind"], value: string): Recorded {
    const recorded = { key, kind, value, called: ++this.#order, returned: Number.POSITIVE_INFINITY };
    this.#history.add(recorded);
    return recorded;
  }

  /** It happened, or certainly did not. */
  finish(recorded: Recorded, happened: boolean): void {
    if (happened) recorded.returned = ++this.#order;
    else this.#history.delete(recorded);
  }
}
