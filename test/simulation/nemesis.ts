import { isVoter } from "../../plugins/consensus-raft/core/configuration.js";
import type { ConfigurationChange } from "../../plugins/consensus-raft/core/types.js";
import type { FaultRates } from "./profile.js";
import type { SimulatedServer, World } from "./server.js";
import type { Workload } from "./workload.js";

/** Makes what can go wrong go wrong, and does what an operator may do meanwhile. */
export class Nemesis {
  #active = true;
  #restores = 0;

  constructor(
    private readonly world: World,
    private readonly workload: Workload,
    private readonly rates: FaultRates,
  ) {
    this.#repeat(rates.crash, () => this.#crash(world.random.pick(world.servers)));
    this.#repeat(rates.blackout, () => {
      for (const server of world.servers) this.#crash(server);
    });
    this.#repeat(rates.partition, () => this.#partition());
    this.#repeat(rates.slowDisk, () => this.#slowDisk());
    this.#repeat(rates.fullDisk, () => this.#fullDisk());
    this.#repeat(rates.clock, () => this.#clock());
    this.#repeat(rates.membership, () => this.#membership());
    this.#repeat(rates.transfer, () => this.#transfer());
    this.#repeat(rates.snapshot, () => this.#snapshot());
    this.#repeat(rates.restore, () => this.#restore());
  }

  /** Ends every fault. */
  stop(): void {
    this.#active = false;
    this.world.network.calm = true;
    this.world.network.heal();
    for (const server of this.world.servers) {
      server.slowness = 1;
      server.diskFull = false;
      server.stoppedUntil = 0;
      server.tickLength = 10;
      if (!server.running) server.start();
    }
  }

  /** A server has just won an election. */
  elected(server: SimulatedServer): void {
    const { random } = this.world;
    if (!this.#active || !random.chance(this.rates.newLeaderFails)) return;
    // Around the moment when its first entries are on their way: figure 8 of the paper lives there.
    server.schedule(random.exponential(random.pick([1, 4, 15])), () => {
      if (!this.#active) return;
      if (random.chance(0.7)) this.#crash(server);
      else this.#isolate(server, random.chance(0.5));
    });
  }

  /** A leader has just committed something; nobody else knows yet. */
  committed(server: SimulatedServer): void {
    const { random } = this.world;
    if (!this.#active || !random.chance(this.rates.committingLeaderFails)) return;
    server.schedule(random.exponential(1), () => {
      if (this.#active) this.#crash(server);
    });
  }

  #isolate(server: SimulatedServer, bothWays: boolean): void {
    const { network, servers } = this.world;
    for (const { id } of servers) {
      network.cut(server.id, id);
      if (bothWays) network.cut(id, server.id);
    }
    this.#later(150, () => network.heal());
  }

  #repeat(mean: number, act: () => void): void {
    if (mean === 0) return;
    const { random, events } = this.world;
    events.after(random.exponential(mean), () => {
      if (!this.#active) return;
      act();
      this.#repeat(mean, act);
    });
  }

  /** Ends something after a random time, unless everything was ended before. */
  #later(mean: number, act: () => void): void {
    this.world.events.after(this.world.random.exponential(mean), () => {
      if (this.#active) act();
    });
  }

  #crash(server: SimulatedServer): void {
    if (!server.running) return;
    const { random, coverage, trace } = this.world;
    trace.add("crash", server.id);
    coverage.crashes++;
    server.crash(random.chance(0.4));
    this.#later(120, () => {
      if (!server.running) server.start();
    });
  }

  #partition(): void {
    const { random, network, servers, coverage } = this.world;
    network.heal();
    if (random.chance(0.3)) return;
    coverage.partitions++;
    const kind = random.integer(4);
    const alone = random.chance(0.5) ? (this.world.leader() ?? random.pick(servers)) : random.pick(servers);
    const half = new Set(servers.filter(() => random.chance(0.5)));
    for (const from of servers) {
      for (const to of servers) {
        const cut =
          kind === 0
            ? half.has(from) !== half.has(to)
            : kind === 1
              ? from === alone || to === alone
              : kind === 2
                ? to === alone
                : random.chance(0.3);
        if (cut) network.cut(from.id, to.id);
      }
    }
  }

  #slowDisk(): void {
    const server = this.world.random.pick(this.world.servers);
    server.slowness = this.world.random.between(5, 100);
    this.#later(300, () => {
      server.slowness = 1;
    });
  }

  #fullDisk(): void {
    const server = this.world.leader() ?? this.world.random.pick(this.world.servers);
    server.diskFull = true;
    this.#later(150, () => {
      server.diskFull = false;
    });
  }

  /** A clock that runs fast or slow, one that jumps ahead, a process that is stopped for a while. */
  #clock(): void {
    const { random, servers, events } = this.world;
    const server = random.pick(servers);
    const kind = random.integer(3);
    if (kind === 0) server.tickLength = 10 * random.pick([0.5, 0.8, 1, 1.5, 3]);
    else if (kind === 1) server.stoppedUntil = events.now + random.exponential(200);
    else {
      const ticks = 1 + random.integer(40);
      server.schedule(0, () => {
        for (let tick = 0; tick < ticks; tick++) server.tick();
      });
    }
  }

  #membership(): void {
    const { random, servers, coverage } = this.world;
    const core = this.world.leader()?.core;
    if (core === undefined || core === null) return;
    const { configuration } = core;
    const { id } = random.pick(servers);
    const member = configuration.servers.some((server) => server.id === id);
    const add = (voter: boolean): ConfigurationChange => ({
      type: "add",
      server: { id, address: `${id}:4647`, voter },
    });
    // Add as non-voter, promote, demote, remove; a replacement is an addition and a removal.
    let change: ConfigurationChange = add(false);
    if (member && !isVoter(configuration, id) && random.chance(0.8)) change = add(true);
    else if (member && random.chance(0.7)) change = { type: "remove", id };
    if (!("refused" in core.proposeConfiguration(change))) coverage.membershipChanges++;
    this.world.leader()?.turn();
  }

  #transfer(): void {
    const leader = this.world.leader();
    if (leader === undefined) return;
    const { random, servers, coverage } = this.world;
    const outcome = leader.core!.transferLeadership(random.chance(0.5) ? undefined : random.pick(servers).id);
    if ("to" in outcome) coverage.transfers++;
    leader.turn();
  }

  #snapshot(): void {
    const { random, servers } = this.world;
    const server = random.chance(0.5) ? this.world.leader() : random.pick(servers);
    if (server?.running) server.takeSnapshot(random.integer(12));
  }

  /** Puts a state of elsewhere in force: every key gets a value that tells which. */
  #restore(): void {
    const leader = this.world.leader();
    if (leader === undefined) return;
    const id = `r${++this.#restores}`;
    const values = new Map(this.workload.keys.map((key) => [key, `${id}${key},`]));
    leader.disk.copies.set(id, { index: 0, values, digest: id });
    const recorded = this.workload.keys.map((key) => this.workload.record(key, "write", `${id}${key}`));
    const settle = (committed: boolean): void => {
      for (const operation of recorded) this.workload.finish(operation, committed);
    };
    if (!leader.propose((core) => core.proposeRestore({ id, checksum: "" }), settle)) settle(false);
  }
}
