import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AllocListStub, Evaluation, Job, NodeListStub } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts, processesWith, type Running } from "./process.js";

export interface Ports {
  readonly http: number;
  readonly rpc: number;
  readonly serf: number;
}

/** A server and a client agent in processes of their own, on loopback, in a temporary folder. */
export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), "drover-it-"));
  /** Port at which the client reaches the broker; another than the broker's own where something stands between. */
  brokerSeenByClient: number;
  server: Running | undefined;
  client: Running | undefined;
  /** The token that the client was started with. */
  joinToken = "";
  readonly #markers: string[] = [this.folder];

  private constructor(
    readonly serverPorts: Ports,
    readonly clientPorts: Ports,
    readonly broker: number,
  ) {
    this.brokerSeenByClient = broker;
  }

  static async create(): Promise<Cluster> {
    const [a, b, c, d, e, f, g] = (await freePorts(7)) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return new Cluster({ http: a, rpc: b, serf: c }, { http: d, rpc: e, serf: f }, g);
  }

  get api(): string {
    return `http://127.0.0.1:${this.serverPorts.http}/v1`;
  }

  get address(): string {
    return `http://127.0.0.1:${this.serverPorts.http}`;
  }

  /** Processes whose command line contains `text` are killed at the end. */
  mark(text: string): void {
    this.#markers.push(text);
  }

  /** `more`: blocks added to its configuration. */
  async startServer(more = ""): Promise<Running> {
    const config = join(this.folder, "server.hcl");
    writeFileSync(
      config,
      this.#config(
        "server",
        this.serverPorts,
        `server {\n  enabled = true\n  bootstrap_expect = 1\n}\n${more}`,
      ),
    );
    this.server = drover(["agent", "-config", config]);
    await this.ready();
    return this.server;
  }

  /** Waits until the server answers and leads. */
  async ready(): Promise<void> {
    const { server } = this;
    await eventually("a server that leads", async () => {
      if (server !== undefined && !server.alive) throw new Error(`the server ended:\n${server.output}`);
      return ((await this.get<string>("/status/leader")) ?? "") !== "";
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${server?.output ?? ""}`);
    });
  }

  /** `more`: keys added to its `client` block; a client of another name has ports of its own. */
  async startClient(more = "", name = "client"): Promise<Running> {
    const config = join(this.folder, `${name}.hcl`);
    const [http, rpc, serf] = (await freePorts(3)) as [number, number, number];
    writeFileSync(
      config,
      this.#config(
        name,
        name === "client" ? this.clientPorts : { http, rpc, serf },
        `client {\n  enabled = true\n${more}}\nplugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}`,
      ),
    );
    const { JoinToken } = await this.post<{ JoinToken: string }>("/operator/join-token", { TTL: "10m" });
    this.joinToken = JoinToken;
    this.client = drover(["agent", "-config", config], { DROVER_JOIN_TOKEN: JoinToken });
    const { client } = this;
    await eventually("a ready node", async () => {
      if (!client.alive) throw new Error(`the client ended:\n${client.output}`);
      const nodes = (await this.get<NodeListStub[]>("/nodes")) ?? [];
      return nodes.some((node) => node.Name === name && node.Status === "ready");
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${client.output}`);
    });
    return client;
  }

  async get<T>(path: string): Promise<T | undefined> {
    const answer = await fetch(`${this.api}${path}`, { signal: AbortSignal.timeout(10_000) });
    if (answer.status === 404) return undefined;
    if (!answer.ok) throw new Error(`GET ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    const answer = await fetch(`${this.api}${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  register(job: object): Promise<{ EvalID: string; JobModifyIndex: number }> {
    return this.post("/jobs", { Job: job });
  }

  async allocations(job: string): Promise<AllocListStub[]> {
    return (await this.get<AllocListStub[]>(`/job/${encodeURIComponent(job)}/allocations`)) ?? [];
  }

  async evaluations(job: string): Promise<Evaluation[]> {
    return (await this.get<Evaluation[]>(`/job/${encodeURIComponent(job)}/evaluations`)) ?? [];
  }

  job(id: string): Promise<Job | undefined> {
    return this.get<Job>(`/job/${encodeURIComponent(id)}`);
  }

  /** Kills everything that the cluster started, tasks included, and removes its folder. */
  async destroy(): Promise<void> {
    await Promise.all([this.server?.kill("SIGKILL"), this.client?.kill("SIGKILL")]);
    for (const marker of this.#markers) {
      for (const pid of processesWith(marker)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
        }
      }
      await eventually(`no process of ${marker}`, () => processesWith(marker).length === 0);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #config(name: string, ports: Ports, role: string): string {
    return `
name       = "${name}"
datacenter = "dc1"
data_dir   = "${join(this.folder, name)}"
bind_addr  = "127.0.0.1"
log_level  = "INFO"
ports {
  http = ${ports.http}
  rpc  = ${ports.rpc}
  serf = ${ports.serf}
}
${role}
plugin "mqtt" {
  config {
    broker {
      ${name === "server" ? `listen = "127.0.0.1:${this.broker}"` : `url = "mqtt://127.0.0.1:${this.brokerSeenByClient}"`}
    }
  }
}
`;
  }
}

/** A job of one raw_exec task that sleeps; `marker` makes its processes findable. */
export function sleepJob(id: string, count: number, marker: string): object {
  return {
    ID: id,
    Name: id,
    Type: "service",
    Datacenters: ["dc1"],
    TaskGroups: [
      {
        Name: "g",
        Count: count,
        EphemeralDisk: { SizeMB: 10 },
        RestartPolicy: { Attempts: 3, Delay: 100_000_000, Interval: 60_000_000_000, Mode: "delay" },
        Tasks: [
          {
            Name: "t",
            Driver: "raw_exec",
            Config: { command: "/bin/sh", args: ["-c", `echo started; exec sleep ${marker}`] },
            LogConfig: { MaxFiles: 1, MaxFileSizeMB: 1 },
            Resources: { CPU: 5, MemoryMB: 10 },
          },
        ],
      },
    ],
  };
}

/** A number of seconds for `sleep` that no other process uses. */
export function uniqueSleep(): string {
  return `${3_600 + Math.floor(Math.random() * 100_000)}.${Math.floor(Math.random() * 1e9)}`;
}
