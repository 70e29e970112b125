import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { AllocListStub, NodeListStub } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { sleepJob, uniqueSleep } from "./cluster.js";
import { drover, freePorts, processesWith, type Running } from "./process.js";

interface Server {
  readonly name: string;
  readonly api: string;
  readonly rpc: number;
  readonly broker: string;
  process: Running;
}

/** Servers of region `global` and one of `mars`, which know each other, in processes of their own. */
class Processes {
  readonly folder = mkdtempSync(join(tmpdir(), "drover-any-"));
  readonly servers: Server[] = [];
  mars!: Server;
  client: Running | undefined;

  async start(): Promise<void> {
    const ports = await freePorts(16);
    const take = (): number => ports.pop()!;
    const rpc = [take(), take(), take(), take()] as const;
    for (const [at, port] of rpc.entries()) {
      const isMars = at === 3;
      const name = isMars ? "mars" : `server-${at + 1}`;
      const [http, serf, broker] = [take(), take(), take()];
      const config = this.#write(
        name,
        `region = "${isMars ? "mars" : "global"}"
ports {
  http = ${http}
  rpc  = ${port}
  serf = ${serf}
}
server {
  enabled          = true
  bootstrap_expect = ${isMars ? 1 : 3}
  num_schedulers   = 1
  server_join {
    retry_join     = ["127.0.0.1:${rpc[0]}"]
    retry_interval = "1s"
  }
}
plugin "mqtt" {
  config {
    broker { listen = "127.0.0.1:${broker}" }
  }
}`,
      );
      const server = {
        name,
        api: `http://127.0.0.1:${http}/v1`,
        rpc: port,
        broker: `mqtt://127.0.0.1:${broker}`,
        process: drover(["agent", "-config", config]),
      };
      if (isMars) this.mars = server;
      else this.servers.push(server);
    }
    for (const server of [...this.servers, this.mars]) {
      await eventually(`${server.name} knows a leader`, async () => {
        if (!server.process.alive) throw new Error(`${server.name} ended:\n${server.process.output}`);
        return ((await get<string>(server, "/status/leader").catch(() => "")) ?? "") !== "";
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${server.process.output}`);
      });
    }
  }

  /** A client agent that knows the brokers of all servers of `global`. */
  async startClient(): Promise<void> {
    const [http, rpc, serf] = await freePorts(3);
    const urls = this.servers.map(({ broker }) => `"${broker}"`).join(", ");
    const config = this.#write(
      "client",
      `ports {
  http = ${http}
  rpc  = ${rpc}
  serf = ${serf}
}
client { enabled = true }
plugin "raw_exec" {
  config { enabled = true }
}
plugin "mqtt" {
  config {
    broker { urls = [${urls}] }
  }
}`,
    );
    const { JoinToken } = await post<{ JoinToken: string }>(this.servers[1]!, "/operator/join-token", {});
    const client = drover(["agent", "-config", config], { DROVER_JOIN_TOKEN: JoinToken });
    this.client = client;
    await eventually("a ready node", async () => {
      if (!client.alive) throw new Error(`the client ended:\n${client.output}`);
      const nodes = (await get<NodeListStub[]>(this.servers[2]!, "/nodes")) ?? [];
      return nodes.some(({ Status }) => Status === "ready");
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${client.output}`);
    });
  }

  async leader(): Promise<Server> {
    const address = await get<string>(this.servers[0]!, "/status/leader");
    return this.servers.find(({ rpc }) => address === `127.0.0.1:${rpc}`)!;
  }

  async destroy(marker: string): Promise<void> {
    const running = [...this.servers, this.mars].map((server) => server?.process.kill("SIGKILL"));
    await Promise.all([...running, this.client?.kill("SIGKILL")]);
    for (const text of [this.folder, marker]) {
      for (const pid of processesWith(text)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
        }
      }
      await eventually(`no process of ${text}`, () => processesWith(text).length === 0);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #write(name: string, more: string): string {
    const file = join(this.folder, `${name}.hcl`);
    writeFileSync(
      file,
      `name = "${name}"\ndatacenter = "dc1"\ndata_dir = "${join(this.folder, name)}"\nbind_addr = "127.0.0.1"\nlog_level = "INFO"\n${more}\n`,
    );
    return file;
  }
}

async function ask(server: Server, path: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(`${server.api}${path}`, { ...init, signal: AbortSignal.timeout(20_000) });
  if (!answer.ok && answer.status !== 404)
    throw new Error(`${server.name}: ${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

async function get<T>(server: Server, path: string): Promise<T | undefined> {
  const answer = await ask(server, path);
  return answer.status === 404 ? undefined : ((await answer.json()) as T);
}

async function post<T>(server: Server, path: string, body: object): Promise<T> {
  return (await ask(server, path, { method: "POST", body: JSON.stringify(body) })).json() as Promise<T>;
}

test("any server serves clients and agents, also when the leader is killed, and other regions'", {
  timeout: 180_000,
}, async (t) => {
  const cluster = new Processes();
  const marker = uniqueSleep();
  t.after(() => cluster.destroy(`sleep\0${marker}`));
  await cluster.start();
  await cluster.startClient();
  const leader = await cluster.leader();
  const followers = cluster.servers.filter((server) => server !== leader);

  for (const [at, server] of cluster.servers.entries()) {
    await post(server, "/jobs", { Job: sleepJob(`job-${at}`, 1, marker) });
    // Written on one, there on every other at once.
    for (const other of cluster.servers)
      assert.ok(await get(other, `/job/job-${at}`), `${other.name} has it`);
  }
  const running = async (server: Server, job: string): Promise<AllocListStub | undefined> =>
    ((await get<AllocListStub[]>(server, `/job/${job}/allocations`)) ?? []).find(
      ({ ClientStatus, DesiredStatus }) => ClientStatus === "running" && DesiredStatus === "run",
    );
  for (const at of cluster.servers.keys())
    await eventually(`job-${at} runs`, async () => (await running(followers[0]!, `job-${at}`)) !== undefined);

  // The agent is connected to one of them, and its logs are read from each, and from the other region.
  const { ID } = (await running(leader, "job-0"))!;
  const logs = `/client/fs/logs/${ID}?task=t&type=stdout&plain=true`;
  for (const server of cluster.servers) assert.equal(await (await ask(server, logs)).text(), "started\n");
  await eventually("mars knows the servers of global", async () =>
    ((await get<string[]>(cluster.mars, "/regions")) ?? []).includes("global"),
  );
  assert.equal(await (await ask(cluster.mars, `${logs}&region=global`)).text(), "started\n");
  assert.equal(await get(cluster.mars, "/job/job-0"), undefined);
  await post(cluster.mars, "/jobs?region=global", { Job: sleepJob("from-mars", 1, marker) });
  assert.ok(await get(followers[0]!, "/job/from-mars"));
  const nowhere = await fetch(`${cluster.mars.api}/jobs?region=pluto`);
  assert.deepEqual([nowhere.status, await nowhere.text()], [500, "No path to region"]);

  const stale = await ask(followers[0]!, "/jobs?stale");
  assert.match(stale.headers.get("x-nomad-lastcontact") ?? "", /^\d{1,4}$/);
  assert.equal(stale.headers.get("x-nomad-knownleader"), "true");

  await leader.process.kill("SIGKILL");
  // Held until another one leads.
  await eventually("a write on a server that is left", async () => {
    await post(followers[0]!, "/jobs", { Job: sleepJob("after", 1, marker) });
    return true;
  });
  assert.ok(await get(followers[1]!, "/job/after"));
  await eventually("it runs", async () => (await running(followers[1]!, "after")) !== undefined);
  assert.equal((await running(followers[0]!, "job-0"))?.ID, ID, "what ran runs on");
  for (const server of followers) assert.equal(await (await ask(server, logs)).text(), "started\n");
});
