import type { Message, Server, SnapshotMeta } from "../../plugins/consensus-raft/core/types.js";
import { type Coverage, noCoverage } from "./coverage.js";
import { EventQueue } from "./events.js";
import { Invariants, Violation } from "./invariants.js";
import { checkLinearizable } from "./linearizability.js";
import { Nemesis } from "./nemesis.js";
import { Network } from "./network.js";
import { type Construction, construction, type Plant } from "./plants.js";
import { PROFILES, type ProfileName } from "./profile.js";
import { Random } from "./random.js";
import { SimulatedServer, type World } from "./server.js";
import { Trace } from "./trace.js";
import { Workload } from "./workload.js";

export interface SimulationOptions {
  readonly seed: number;
  /** Events that happen while there are faults. */
  readonly steps: number;
  readonly plant?: Plant | null;
  readonly profile?: ProfileName;
}

export interface SimulationResult {
  readonly trace: string;
  readonly elections: number;
  readonly coverage: Coverage;
}

/** Virtual milliseconds in which a cluster without faults must commit and hand out a write. */
const SETTLE_WITHIN = 20_000;

/**
 * A deterministic cluster: the real core under a simulated network, disk and clock. One seed gives one history of faults,
 * every step of it is checked, and at the end what its clients saw.
 */
export class Simulation implements World {
  readonly random: Random;
  readonly events = new EventQueue();
  readonly trace = new Trace();
  readonly invariants = new Invariants();
  readonly coverage = noCoverage();
  readonly construction: Construction;
  readonly network: Network;
  readonly servers: readonly SimulatedServer[];
  readonly #byId: ReadonlyMap<string, SimulatedServer>;
  readonly #workload: Workload;
  readonly #nemesis: Nemesis;
  readonly #steps: number;
  #elections = 0;
  #maxCommit = 0;

  constructor({ seed, steps, plant = null, profile: name = "swarm" }: SimulationOptions) {
    this.random = new Random(seed);
    this.#steps = steps;
    this.construction = construction(plant);
    const profile = PROFILES[name](this.random);
    this.network = new Network(this.events, this.random, profile.network, (message) =>
      this.#deliver(message),
    );
    const ids = Array.from({ length: profile.size + profile.spares }, (_, position) => `s${position}`);
    const first = ids.slice(0, profile.size).map((id) => ({ id, address: `${id}:4647`, voter: true }));
    this.servers = ids.map((id, position) => {
      const servers = profile.bornConfigured && position < profile.size ? first : [];
      const base: SnapshotMeta = { index: 0, term: 0, configuration: { servers } };
      return new SimulatedServer(id, base, profile.limits, this);
    });
    this.#byId = new Map(this.servers.map((server) => [server.id, server]));
    for (const server of this.servers) server.start();
    if (!profile.bornConfigured) this.#bootstrap(first);
    this.#workload = new Workload(this, profile.clients, profile.keys);
    this.#nemesis = new Nemesis(this, this.#workload, profile.rates);
  }

  /** As an operator would: on one server, again until it has worked. */
  #bootstrap(servers: readonly Server[]): void {
    const first = this.servers[0]!;
    if (first.core?.bootstrap({ servers }) !== undefined) first.turn();
    if (first.disk.log.entries.length > 0 || first.disk.log.base.index > 0) return;
    this.events.after(50, () => this.#bootstrap(servers));
  }

  /** Throws a `Violation`, or whatever error the core raised, when the history is wrong. */
  run(): SimulationResult {
    for (let step = 0; step < this.#steps && this.events.step(); step++);
    this.#workload.stop();
    this.#nemesis.stop();
    this.#settle();
    const verdict = checkLinearizable(this.#workload.history);
    if (!verdict.linearizable) {
      throw new Violation(
        "linearizability",
        `no order explains what clients saw of ${verdict.key}: ${JSON.stringify(verdict.history)}`,
      );
    }
    return { trace: this.trace.hash, elections: this.invariants.elections, coverage: this.coverage };
  }

  /** Without faults, a write must be committed, reach every member, and be read by everyone. */
  #settle(): void {
    let committed = false;
    const attempt = (number: number): void => {
      if (committed) return;
      const leader = this.leader();
      if (leader !== undefined) {
        const command = { kind: "append", key: "k0", value: `end${number}` } as const;
        this.#workload.write(leader, command, (happened) => {
          committed ||= happened;
        });
      }
      this.events.after(500, () => attempt(number + 1));
    };
    attempt(0);
    this.#until("a write is committed after the faults ended", () => committed);
    const target = this.invariants.maxCommit;
    this.#until("every member has what is committed", () => {
      const members = this.leader()?.core?.configuration.servers;
      return members?.every(({ id }) => this.server(id).machine.index >= target) ?? false;
    });
    for (const key of this.#workload.keys) {
      let answered = false;
      const attemptRead = (): void => {
        const leader = this.leader();
        const done = (happened: boolean): void => {
          answered = happened;
          if (!happened) this.events.after(100, attemptRead);
        };
        if (leader === undefined) done(false);
        else this.#workload.read(leader, key, done);
      };
      attemptRead();
      this.#until(`${key} is read after the faults ended`, () => answered);
    }
  }

  #until(what: string, condition: () => boolean): void {
    const deadline = this.events.now + SETTLE_WITHIN;
    while (!condition()) {
      if (this.events.now > deadline || !this.events.step())
        throw new Violation("progress", `waited in vain until ${what}: ${JSON.stringify(this.#summary())}`);
    }
  }

  #summary(): unknown {
    return this.servers.map(({ id, core, machine }) => ({
      id,
      applied: machine.index,
      ...core?.leadership,
      commit: core?.commit,
      last: core?.lastIndex,
      servers: core?.configuration.servers.map((server) => `${server.id}${server.voter ? "" : "?"}`).join(),
    }));
  }

  // --- World --------------------------------------------------------------------------------------------------------

  server(id: string): SimulatedServer {
    const server = this.#byId.get(id);
    if (server === undefined) throw new Error(`there is no server ${id}`);
    return server;
  }

  leader(): SimulatedServer | undefined {
    let found: SimulatedServer | undefined;
    for (const server of this.servers) {
      if (server.core?.role !== "leader") continue;
      if (found === undefined || server.core.term > found.core!.term) found = server;
    }
    return found;
  }

  observe(server: SimulatedServer): void {
    const core = server.core!;
    this.invariants.check(core);
    if (server.needsVotes) {
      if (server.termSinceMessage === null) server.termSinceMessage = core.term;
      else this.invariants.checkUndisturbed(core, server.termSinceMessage);
    } else server.termSinceMessage = null;
    if (this.invariants.elections > this.#elections) {
      this.#elections = this.invariants.elections;
      this.#nemesis?.elected(server);
    }
    if (core.role === "leader" && this.invariants.maxCommit > this.#maxCommit) {
      this.#nemesis?.committed(server);
    }
    this.#maxCommit = this.invariants.maxCommit;
    this.trace.add(core.id, core.role, core.term, core.commit, core.lastIndex);
  }

  #deliver(message: Message): void {
    const target = this.server(message.to);
    if (target.running) target.receive(message);
  }
}

/** Runs one seed. */
export function simulate(options: SimulationOptions): SimulationResult {
  return new Simulation(options).run();
}
