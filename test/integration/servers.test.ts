/** Three servers in processes of their own: they find each other, lose one, get it back, and one leaves. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { AgentMembersResponse } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts, type Running, run } from "./process.js";

interface Server {
  readonly name: string;
  readonly address: string;
  readonly rpc: string;
  readonly config: string;
  running: Running | undefined;
}

class Servers {
  readonly folder = mkdtempSync(join(tmpdir(), "drover-servers-"));
  readonly all: Server[] = [];

  static async create(t: TestContext, count: number): Promise<Servers> {
    const servers = new Servers();
    t.after(() => servers.remove());
    const ports = await freePorts(count * 4);
    const rpcs = Array.from({ length: count }, (_, i) => `127.0.0.1:${ports[i * 4]}`);
    for (let i = 0; i < count; i++) servers.#add(`s${i + 1}`, ports.slice(i * 4, i * 4 + 4), rpcs);
    return servers;
  }

  #add(name: string, [rpc, http, serf, broker]: readonly number[], rpcs: readonly string[]): void {
    const config = join(this.folder, `${name}.hcl`);
    writeFileSync(
      config,
      `
name      = "${name}"
data_dir  = "${join(this.folder, name)}"
bind_addr = "127.0.0.1"
log_level = "INFO"
leave_on_interrupt = true
ports {
  rpc  = ${rpc}
  http = ${http}
  serf = ${serf}
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
      listen = "127.0.0.1:${broker}"
    }
  }
}
`,
    );
    this.all.push({
      name,
      address: `http://127.0.0.1:${http}`,
      rpc: `127.0.0.1:${rpc}`,
      config,
      running: undefined,
    });
  }

  start(server: Server): void {
    server.running = drover(["agent", "-config", server.config]);
  }

  async get<T>(server: Server, path: string): Promise<T | undefined> {
    if (server.running?.alive === false) throw new Error(`${server.name} ended:\n${server.running.output}`);
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
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    try {
      await eventually(what, condition);
    } catch (error) {
      const printed = this.all.map(({ name, running }) => `${name}: ${running?.output.slice(-3_000) ?? ""}`);
      throw new Error([String(error), ...printed].join("\n"), { cause: error });
    }
  }

  /** The server that all of these agree leads. */
  async leader(among: readonly Server[] = this.all): Promise<Server> {
    let found: Server | undefined;
    await this.until("one leader", async () => {
      const said = await Promise.all(among.map((server) => this.get<string>(server, "status/leader")));
      found = this.all.find(({ rpc }) => said.every((leader) => leader === rpc));
      return found !== undefined && among.includes(found);
    });
    return found!;
  }

  async status(at: Server, of: Server): Promise<string | undefined> {
    const answer = await this.get<AgentMembersResponse>(at, "agent/members");
    return answer?.Members.find(({ Name }) => Name === `${of.name}.global`)?.Status;
  }

  async clusterId(server: Server): Promise<string | undefined> {
    const self = await this.get<{ stats: { nomad: { cluster_id: string } } }>(server, "agent/self");
    return self?.stats.nomad.cluster_id;
  }

  async remove(): Promise<void> {
    await Promise.all(this.all.map(({ running }) => running?.kill("SIGKILL")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("three servers find each other, survive the death of one, and let their leader leave", async (t) => {
  const servers = await Servers.create(t, 3);
  for (const server of servers.all) servers.start(server);
  const first = await servers.leader();
  await servers.until("one cluster", async () => {
    const ids = await Promise.all(servers.all.map((server) => servers.clusterId(server)));
    return new Set(ids).size === 1 && ids[0] !== undefined && ids[0] !== "";
  });

  const victim = servers.all.find((server) => server !== first)!;
  await victim.running!.kill("SIGKILL");
  await servers.until("it is missed", async () => (await servers.status(first, victim)) === "failed");
  assert.equal((await servers.get<string[]>(first, "status/peers"))?.length, 3);
  servers.start(victim);
  await servers.until("it is back", async () => (await servers.status(first, victim)) === "alive");

  const leader = await servers.leader();
  const { code } = await leader.running!.kill("SIGINT");
  assert.equal(code, 0, leader.running!.output);
  const others = servers.all.filter((server) => server !== leader);
  const next = await servers.leader(others);
  await servers.until("two are left", async () => {
    const peers = (await servers.get<string[]>(next, "status/peers")) ?? [];
    return peers.length === 2 && !peers.includes(leader.rpc);
  });
  assert.equal(await servers.status(next, leader), "left");
  const members = await run(["server", "members", `-address=${next.address}`]);
  assert.match(members.output, new RegExp(`${next.name}\\.global +127\\.0\\.0\\.1 +\\d+ +alive +true`));
  assert.match(members.output, new RegExp(`${leader.name}\\.global +127\\.0\\.0\\.1 +\\d+ +left +false`));
});
