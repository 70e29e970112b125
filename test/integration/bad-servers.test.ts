/** Servers that must not take part, beside a cluster that goes on: refused in words, nothing lost. */
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { JobListStub } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { drover, freePorts, type Running } from "./process.js";
import { loopbackPlaces, type Server, Servers } from "./servers.js";

describe("a cluster of three servers", () => {
  let servers: Servers;
  /** Started beside the cluster. */
  const strangers: Running[] = [];
  const registered: string[] = [];
  const data = (server: Server): string => join(servers.folder, server.name);

  before(async () => {
    servers = new Servers(await loopbackPlaces(3));
    for (const server of servers.all) servers.start(server);
    await servers.leader();
    for (let at = 0; at < 5; at++) await write();
  });
  after(async () => {
    await Promise.all(strangers.map((stranger) => stranger.kill("SIGKILL")));
    await servers.remove();
  });

  /** Registers one more job, on any server that answers. */
  async function write(): Promise<void> {
    const id = `a-recognisable-name-of-job-${registered.length}`;
    const Task = { Name: "t", Driver: "raw_exec", Config: { command: "/bin/true" } };
    const Job = {
      ...{ ID: id, Name: id, Type: "batch", Datacenters: ["dc1"], ParameterizedJob: {} },
      TaskGroups: [{ Name: "g", Tasks: [Task] }],
    };
    const alive = servers.all.find(({ lives }) => lives.at(-1)!.alive)!;
    await eventually("a write", async () => {
      const answer = await fetch(`${alive.address}/v1/jobs`, {
        method: "POST",
        body: JSON.stringify({ Job }),
      });
      return answer.ok;
    });
    registered.push(id);
  }

  /** Everything that was acknowledged is on every server that runs, and one more write is taken. */
  async function goesOn(): Promise<void> {
    await write();
    const alive = servers.all.filter(({ lives }) => lives.at(-1)!.alive);
    assert.ok(alive.length >= 2);
    for (const server of alive) {
      await servers.until(`all jobs on ${server.name}`, async () => {
        const jobs = (await servers.get<JobListStub[]>(server, "jobs?consistent")) ?? [];
        return registered.every((id) => jobs.some(({ ID }) => ID === id));
      });
    }
  }

  /** The configuration of `like` with ports and a folder of its own, changed by `change`. */
  async function stranger(like: Server, name: string, change: (text: string) => string): Promise<Running> {
    const [rpc, http, serf, broker] = (await freePorts(4)) as [number, number, number, number];
    const text = readFileSync(like.config, "utf8")
      .replace(`"${data(like)}"`, `"${join(servers.folder, name)}"`)
      .replace(`"${like.name}"`, `"${name}"`)
      .replace(/rpc {2}= \d+/, `rpc  = ${rpc}`)
      .replace(/http = \d+/, `http = ${http}`)
      .replace(/serf = \d+/, `serf = ${serf}`)
      .replace(/(listen = ".*):\d+"/, `$1:${broker}"`);
    const config = join(servers.folder, `${name}.hcl`);
    writeFileSync(config, change(text));
    const running = drover(["agent", "-config", config]);
    strangers.push(running);
    return running;
  }

  /** What a server prints that is started and ends by itself, with an exit code. */
  async function refusedStart(server: Server): Promise<string> {
    servers.start(server);
    const running = server.lives.at(-1)!;
    await servers.until(`${server.name} ends`, () => !running.alive);
    const { code } = await running.exited;
    assert.ok(code !== null && code > 0, `exit code ${code}`);
    return running.output;
  }

  const follower = async (): Promise<Server> => {
    const leader = await servers.leader();
    return servers.all.find((server) => server !== leader)!;
  };

  it("takes no copy of a member's data folder in, and both logs say so", async () => {
    const member = await follower();
    await member.lives.at(-1)!.kill("SIGKILL");
    cpSync(data(member), join(servers.folder, "copy"), { recursive: true });
    servers.start(member);
    await servers.leader();
    const copy = await stranger(member, "copy", (text) => text);
    const words = /id .* is in use|second server|another server (?:has|with) (?:its|this) id/i;
    await eventually("its log", () => words.test(copy.output)).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${copy.output}\n${servers.printed()}`);
    });
    await eventually("the log of a member", () =>
      servers.all.some(({ lives }) => words.test(lives.at(-1)!.output)),
    );
    await goesOn();
    const peers = (await servers.get<string[]>(await servers.leader(), "status/peers")) ?? [];
    assert.deepEqual(peers.toSorted(), servers.all.map(({ rpc }) => rpc).toSorted());
    await copy.kill("SIGKILL");
  });

  it("takes no server of another cluster in, and both logs say what to do", async () => {
    const leader = await servers.leader();
    const other = await stranger(leader, "other", (text) =>
      text.replace(/bootstrap_expect = 3/, "bootstrap_expect = 1"),
    );
    await eventually("its log", () =>
      /the cluster does not take this server in: .* belongs to cluster/.test(other.output),
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${other.output}\n${servers.printed()}`);
    });
    await eventually("the log of a member", () =>
      servers.all.some(({ lives }) =>
        /a server is refused: other\.global belongs to cluster/.test(lives.at(-1)!.output),
      ),
    );
    assert.ok(other.alive, other.output);
    await goesOn();
    await other.kill("SIGKILL");
  });

  it("does without a server whose log is damaged, which does not start and names file and entry", async () => {
    const member = await follower();
    await member.lives.at(-1)!.kill("SIGKILL");
    const file = join(data(member), "server", "raft", "data.mdb");
    const whole = readFileSync(file);
    const flipped = Buffer.from(whole);
    // Pages that are no longer in use hold copies.
    const text = "a-recognisable-name-of-job-3";
    const first = flipped.indexOf(text);
    assert.ok(first > 0);
    for (let at = first; at !== -1; at = flipped.indexOf(text, at + 1)) flipped[at]! ^= 1;
    writeFileSync(file, flipped);
    assert.match(await refusedStart(member), /data\.mdb: entry \d+ is damaged: its checksum is/);
    await goesOn();

    // It was only the disk's reading that was wrong, say: with its log whole it takes part again.
    writeFileSync(file, whole);
    servers.start(member);
    await servers.leader();
    await goesOn();
  });

  it("does without a server whose log is cut short, which does not start and names the file", async () => {
    const member = await follower();
    await member.lives.at(-1)!.kill("SIGKILL");
    const file = join(data(member), "server", "raft", "data.mdb");
    const whole = readFileSync(file);
    // Behind the pages in use is room that was only reserved.
    truncateSync(file, 8 * 4096);
    assert.match(
      await refusedStart(member),
      /data\.mdb: the file is cut short: 32768 bytes of \d+ are there/,
    );
    await goesOn();
    writeFileSync(file, whole);
    servers.start(member);
    await servers.leader();
    await goesOn();
  });

  it("is not joined by a server that nobody can reach: it does not start", async () => {
    const [like] = servers.all as [Server];
    const lost = await stranger(like, "lost", (text) => `${text}advertise {\n  rpc = "0.0.0.0"\n}\n`);
    const { code } = await lost.exited;
    assert.notEqual(code, 0);
    assert.match(lost.output, /advertise\.rpc: other servers can't reach this one at 0\.0\.0\.0/);
    rmSync(join(servers.folder, "lost"), { recursive: true, force: true });
    await goesOn();
  });
});
