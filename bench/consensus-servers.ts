/** Servers of consensus alone on loopback, each a process with a folder of its own that outlives it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@drover/plugin-sdk/testing";
import { freePorts } from "../test/integration/process.js";
import { Child } from "./child.js";
import type { Identity, ServerCalls, ServerOptions } from "./consensus-calls.js";

export interface Member extends Identity {
  readonly number: number;
  readonly process: Child<ServerCalls>;
}

export class ConsensusServers {
  readonly running = new Map<number, Member>();

  private constructor(
    readonly folder: string,
    private readonly ports: readonly number[],
    private readonly machine: ServerOptions["machine"],
  ) {}

  static async create(count: number, machine: ServerOptions["machine"]): Promise<ConsensusServers> {
    const folder = await mkdtemp(join(tmpdir(), "drover-bench-consensus-"));
    return new ConsensusServers(folder, await freePorts(count), machine);
  }

  folderOf(number: number): string {
    return join(this.folder, String(number));
  }

  /** Starts a server on its folder; nobody need lead yet. */
  async start(number: number, config: Readonly<Record<string, number>> = {}): Promise<Member> {
    const options: ServerOptions = {
      dataDir: this.folderOf(number),
      port: this.ports[number]!,
      machine: this.machine,
      config,
    };
    const process = new Child<ServerCalls>("consensus-server.js", options, `server ${number}`);
    const member = { number, process, ...(await process.ask("start", null)) };
    this.running.set(number, member);
    return member;
  }

  /** Starts as many as there are ports, and begins a cluster of them; gives its leader. */
  async begin(): Promise<Member> {
    const members = await Promise.all(this.ports.map((_, number) => this.start(number)));
    await members[0]!.process.ask(
      "bootstrap",
      members.map(({ id, address }) => ({ id, address })),
    );
    return this.leader();
  }

  leader(): Promise<Member> {
    return eventually(
      "a leader",
      async () => {
        for (const member of this.running.values())
          if ((await member.process.ask("status", null)).leads) return member;
        return undefined;
      },
      60_000,
    );
  }

  async kill(member: Member): Promise<void> {
    this.running.delete(member.number);
    await member.process.kill("SIGKILL");
  }

  /** In order: everything is on the disk. */
  async stop(member: Member): Promise<void> {
    this.running.delete(member.number);
    await member.process.ask("stop", null);
    await member.process.end();
  }

  /** Ends all of them and removes their folders. */
  async destroy(): Promise<void> {
    await Promise.all([...this.running.values()].map((member) => this.kill(member)));
    await rm(this.folder, { recursive: true, force: true });
  }
}
