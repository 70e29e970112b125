/** Three servers looked after by command, through a server that does not lead. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { JobListStub, OperatorHealthReply, RaftConfiguration, RaftServer } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { sleepJob } from "./cluster.js";
import { drover, freePorts, type Running, run } from "./process.js";

const SERVERS = 3;

interface Member {
  readonly rpc: string;
  readonly api: string;
  readonly process: Running;
}

function config(name: string, folder: string, ports: readonly number[], toJoin: readonly string[]): string {
  const [http, rpc, serf, broker] = ports;
  return `
name      = "${name}"
data_dir  = "${join(folder, name)}"
bind_addr = "127.0.0.1"
ports {
  http = ${http}
  rpc  = ${rpc}
  serf = ${serf}
}
server {
  enabled          = true
  bootstrap_expect = ${SERVERS}
  server_join {
    retry_join     = ${JSON.stringify(toJoin)}
    retry_interval = "1s"
  }
}
plugin "mqtt" {
  config {
    broker {
      listen = "127.0.0.1:${broker}"
    }
  }
}
`;
}

test("a follower lists, saves, restores, hands over leadership and removes a server for the whole cluster", {
  timeout: 240_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "drover-operator-"));
  const ports = await freePorts(SERVERS * 4);
  const portsOf = (at: number): number[] => ports.slice(at * 4, at * 4 + 4);
  const addresses = Array.from({ length: SERVERS }, (_, at) => `127.0.0.1:${portsOf(at)[1]}`);
  const members = addresses.map((rpc, at): Member => {
    const path = join(folder, `server-${at}.hcl`);
    writeFileSync(path, config(`server-${at}`, folder, portsOf(at), addresses));
    return { rpc, api: `http://127.0.0.1:${portsOf(at)[0]}`, process: drover(["agent", "-config", path]) };
  });
  t.after(async () => {
    await Promise.all(members.map(({ process }) => process.kill("SIGKILL")));
    rmSync(folder, { recursive: true, force: true });
  });
  const get = async <T>(member: Member, path: string): Promise<T> => {
    const answer = await fetch(`${member.api}${path}`, { signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`GET ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const servers = async (member: Member): Promise<readonly RaftServer[]> =>
    (await get<RaftConfiguration>(member, "/v1/operator/raft/configuration")).Servers;
  const operator = async (member: Member, ...argv: string[]): Promise<string> => {
    const { code, output } = await run(["operator", ...argv], { NOMAD_ADDR: member.api });
    assert.equal(code, 0, output);
    return output;
  };

  await eventually("three servers that vote", async () => {
    const dead = members.find(({ process }) => !process.alive);
    if (dead !== undefined) assert.fail(`a server ended:\n${dead.process.output}`);
    const all = await Promise.all(members.map(servers));
    return all.every(
      (each) => each.filter(({ Voter }) => Voter).length === SERVERS && each.some(({ Leader }) => Leader),
    );
  });
  const leading = (await servers(members[0]!)).find(({ Leader }) => Leader)!;
  const leader = members.find(({ rpc }) => rpc === leading.Address)!;
  const [follower, other] = members.filter((member) => member !== leader) as [Member, Member];
  const listed = await operator(follower, "raft", "list-peers");
  assert.equal(listed.match(/ follower +true +3/g)?.length, 2);
  assert.equal(listed.match(/ leader +true +3/g)?.length, 1);
  await eventually("all healthy", async () => {
    const answer = await fetch(`${follower.api}/v1/operator/autopilot/health`);
    const health = (await answer.json()) as OperatorHealthReply;
    assert.equal(answer.status, health.Healthy ? 200 : 429);
    return health.Healthy && health.Servers.length === SERVERS;
  });

  const register = async (id: string): Promise<void> => {
    const body = JSON.stringify({ Job: sleepJob(id, 1, "1") });
    const answer = await fetch(`${follower.api}/v1/jobs`, { method: "PUT", body });
    assert.equal(answer.status, 200, await answer.text());
  };
  const jobs = async (member: Member): Promise<string[]> =>
    (await get<JobListStub[]>(member, "/v1/jobs")).map(({ ID }) => ID).sort();
  await register("before");
  const file = join(folder, "backup.snap");
  await operator(follower, "snapshot", "save", file);
  assert.match(await operator(follower, "snapshot", "inspect", file), /\nServers = 3\n/);
  await register("after");
  await eventually("on all", async () =>
    (await Promise.all(members.map(jobs))).every((each) => each.join() === "after,before"),
  );
  await operator(follower, "snapshot", "restore", file);
  for (const member of members) assert.deepEqual(await jobs(member), ["before"]);

  assert.match(
    await operator(follower, "raft", "transfer-leadership", "-peer-address", follower.rpc),
    /^Transferred leadership from /,
  );
  await eventually(
    "it leads",
    async () => (await servers(other)).find(({ Leader }) => Leader)?.Address === follower.rpc,
  );
  // One that runs would be taken in again; and autopilot must not be first.
  await operator(other, "autopilot", "set-config", "-cleanup-dead-servers=false");
  assert.match(await operator(other, "autopilot", "get-config"), /^CleanupDeadServers = false\n/);
  await leader.process.kill("SIGKILL");
  await operator(other, "raft", "remove-peer", "-peer-id", leading.ID);
  assert.deepEqual(
    (await servers(other)).map(({ Address }) => Address).sort(),
    [follower.rpc, other.rpc].sort(),
  );
  assert.deepEqual(await jobs(other), ["before"]);
});
