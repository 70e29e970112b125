/** Whole servers in one process, over a network whose links a test cuts. */
import type { TestContext } from "node:test";
import type { AgentMember, Logger, Peer } from "@drover/plugin-sdk";
import { MemoryNetwork } from "@drover/plugin-sdk/testing";
import { BenchServer, type BenchServerOptions } from "../bench-server.js";
import { PaperConsensus, PaperWorld } from "./paper-cluster.js";

export interface PaperServerOptions extends Pick<BenchServerOptions, "server" | "discoveries" | "gossip"> {
  /** Last part of the server's id and address. */
  readonly number: number;
  /** Another server's number whose id it has a copy of. */
  readonly idOf?: number;
  readonly name?: string;
  readonly region?: string;
  readonly expect?: number;
  readonly retryJoin?: readonly number[];
  readonly consensus?: PaperConsensus;
  fatal?(error: Error): void;
}

export const addressOf = (number: number): string => `10.0.0.${number}:4647`;
export const idOf = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;

/** Times at which everything that takes seconds takes tens of milliseconds. */
const TIMES = {
  probeInterval: 20,
  probeDeadline: 200,
  missesToFail: 3,
  failedEvery: 2,
  interval: 20,
  reconcile: 50,
};

export class PaperServers {
  readonly network = new MemoryNetwork();
  readonly world = new PaperWorld();
  readonly lines: { readonly level: string; readonly message: string }[] = [];

  constructor(private readonly t: TestContext) {}

  async start(options: PaperServerOptions): Promise<BenchServer<PaperConsensus>> {
    const { number, region = "global", expect = 3, retryJoin = [] } = options;
    const address = addressOf(number);
    const consensus =
      options.consensus ?? new PaperConsensus(this.world, idOf(options.idOf ?? number), address);
    const bench = new BenchServer<PaperConsensus>(
      [],
      [],
      { consensus, log: this.#log(), settings: { num_schedulers: 0 } },
      {
        agent: {
          nodeName: options.name ?? `server-${number}`,
          region,
          advertise: { http: `10.0.0.${number}:4646`, rpc: address, serf: `10.0.0.${number}:4648` },
        },
        server: {
          bootstrap_expect: expect,
          server_join: {
            start_join: [],
            retry_join: retryJoin.map(addressOf),
            retry_max: 0,
            retry_interval: 20,
          },
          ...options.server,
        },
        network: this.network.join(address),
        memberTimes: TIMES,
        autopilotInterval: 20,
        ...(options.gossip === undefined ? {} : { gossip: options.gossip }),
        ...(options.discoveries === undefined ? {} : { discoveries: options.discoveries }),
        ...(options.fatal === undefined ? {} : { fatal: options.fatal }),
      },
    );
    this.t.after(() => bench.stop());
    await bench.start();
    return bench;
  }

  /** Several servers that join each other. */
  startAll(numbers: readonly number[], options: Omit<PaperServerOptions, "number"> = {}) {
    return Promise.all(numbers.map((number) => this.start({ retryJoin: numbers, ...options, number })));
  }

  logged(level: string, text: RegExp): boolean {
    return this.lines.some((line) => line.level === level && text.test(line.message));
  }

  #log(): Logger {
    const at = (level: string) => (fields: object, message: string) =>
      void this.lines.push({ level, message: `${message} ${JSON.stringify(fields)}` });
    const log: Logger = {
      trace: at("trace"),
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: () => log,
    };
    return log;
  }
}

/** `server-1 alive` and so on, in order. */
export function seen(bench: BenchServer<PaperConsensus>): string[] {
  return bench.server.endpoints.status
    .members()
    .map(({ Name, Status }: AgentMember) => `${Name} ${Status}`)
    .sort();
}

/** Numbers of the servers of the cluster, those without a vote with `?`. */
export function peersOf(bench: BenchServer<PaperConsensus>): string[] {
  return bench.consensus
    .peers()
    .map(({ id, voter }: Peer) => `${Number(id.slice(-12))}${voter ? "" : "?"}`)
    .sort();
}
