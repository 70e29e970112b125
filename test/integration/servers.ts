/** Servers in processes of their own, which find each other. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentMembersResponse } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts, type Running } from "./process.js";

/** Where a server runs. */
export interface Place {
  readonly ip: string;
  readonly ports: {
    readonly rpc: number;
    readonly http: number;
    readonly serf: number;
    readonly broker: number;
  };
  /** Command and arguments that start the server's command there. */
  readonly launcher: readonly string[];
}

export interface Server {
  readonly name: string;
  /** URL of its HTTP API. */
  readonly address: string;
  readonly ip: string;
  readonly rpc: string;
  readonly config: string;
  readonly launcher: readonly string[];
  /** Its lives; the last one is the present one. */
  readonly lives: Running[];
}

/** Places on loopback, with ports that are free now. */
export async function loopbackPlaces(count: number): Promise<Place[]> {
  const ports = await freePorts(count * 4);
  return Array.from({ length: count }, (_, at) => {
    const [rpc, http, serf, broker] = ports.slice(at * 4, at * 4 + 4) as [number, number, number, number];
    return { ip: "127.0.0.1", ports: { rpc, http, serf, broker }, launcher: [] };
  });
}

export class Servers {
  readonly folder = mkdtempSync(join(tmpdir(), "drover-servers-"));
  readonly all: readonly Server[];

  /** One at each place, none started yet. `remove` must be called in the end. */
  constructor(places: readonly Place[]) {
    const rpcs = places.map(({ ip, ports }) => `${ip}:${ports.rpc}`);
    this.all = places.map(({ ip, ports, launcher }, at) => {
      const name = `s${at + 1}`;
      const config = join(this.folder, `${name}.hcl`);
      writeFileSync(
        config,
        `
name      = "${name}"
data_dir  = "${join(this.folder, name)}"
bind_addr = "${ip}"
log_level = "INFO"
leave_on_interrupt = true
ports {
  rpc  = ${ports.rpc}
  http = ${ports.http}
  serf = ${ports.serf}
}
server {
  enabled          = true
  bootstrap_expect = ${rpcs.length}
  num_schedulers   = 0
  server_join {
    retry_join     = ${JSON.stringify(rpcs)}
    retry_interval = "500ms"
  }
}
plugin "mqtt" {
  config {
    broker {
      listen = "${ip}:${ports.broker}"
    }
  }
}
`,
      );
      return {
        name,
        address: `http://${ip}:${ports.http}`,
        ip,
        rpc: rpcs[at]!,
        config,
        launcher,
        lives: [],
      };
    });
  }

  start(server: Server): void {
    server.lives.push(drover(["agent", "-config", server.config], {}, server.launcher));
  }

  /** Answer of `server`'s API; undefined where there is none in time or it is an error. */
  async get<T>(server: Server, path: string): Promise<T | undefined> {
    const running = server.lives.at(-1);
    if (running?.alive === false) throw new Error(`${server.name} ended:\n${running.output}`);
    try {
      const answer = await fetch(`${server.address}/v1/${path}`, { signal: AbortSignal.timeout(5_000) });
      return answer.ok ? ((await answer.json()) as T) : undefined;
    } catch (error) {
      // It does not listen yet, or the machine has other things to do.
      if (error instanceof TypeError || (error as Error).name === "TimeoutError") return undefined;
      throw error;
    }
  }

  /** Waits, and shows what the servers printed where it is in vain. */
  async until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
    try {
      await eventually(what, condition);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.printed()}`, { cause: error });
    }
  }

  /** The end of what each server printed. */
  printed(): string {
    return this.all
      .map(({ name, lives }) => `${name}: ${lives.map(({ output }) => output.slice(-3_000)).join("\n---\n")}`)
      .join("\n");
  }

  /** The server of `among` that all of these agree leads. */
  async leader(among: readonly Server[] = this.all): Promise<Server> {
    let found: Server | undefined;
    await this.until("one leader", async () => {
      const said = await Promise.all(among.map((server) => this.get<string>(server, "status/leader")));
      found = among.find(({ rpc }) => said.every((leader) => leader === rpc));
      return found !== undefined;
    });
    return found!;
  }

  /** Status of member `of` as `at` sees it. */
  async status(at: Server, of: Server): Promise<string | undefined> {
    const answer = await this.get<AgentMembersResponse>(at, "agent/members");
    return answer?.Members.find(({ Name }) => Name === `${of.name}.global`)?.Status;
  }

  async clusterId(server: Server): Promise<string | undefined> {
    const self = await this.get<{ stats: { nomad: { cluster_id: string } } }>(server, "agent/self");
    return self?.stats.nomad.cluster_id;
  }

  /** Kills all of them, paused ones too, and removes their folder. */
  async remove(): Promise<void> {
    await Promise.all(this.all.map(({ lives }) => lives.at(-1)?.kill("SIGKILL")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
