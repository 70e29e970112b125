/** A leader that lost its lease without noticing writes nothing. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { NotLeaderError } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { EtcdClient } from "../../../plugins/consensus-etcd/client.js";
import { EtcdConfig } from "../../../plugins/consensus-etcd/config.js";
import { Keys } from "../../../plugins/consensus-etcd/keys.js";
import { LogWriter } from "../../../plugins/consensus-etcd/log-writer.js";
import { START } from "../../../plugins/consensus-etcd/records.js";
import { EtcdCluster } from "./etcd-cluster.js";
import { encode, TestServers, temporaryFolder } from "./support.js";

const CHILD = fileURLToPath(new URL("./server-child.js", import.meta.url));

describe("a leader that lost its lease", () => {
  let etcd: EtcdCluster;
  before(async () => {
    etcd = await EtcdCluster.start(1);
  });
  after(() => etcd.destroy());

  it("does not believe to lead when its process goes on after a pause, and its proposals are refused", async (t) => {
    const servers = new TestServers(etcd, new MemoryNetwork());
    t.after(() => servers.destroy());
    const folder = await temporaryFolder();
    const child = spawn(process.execPath, [CHILD, etcd.endpoints.join(","), folder, servers.prefix], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    t.after(async () => {
      const gone = once(child, "exit");
      if (child.exitCode === null && child.kill("SIGKILL")) await gone;
      await rm(folder, { recursive: true, force: true });
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const says = (line: string) => eventually(line, () => output.split("\n").includes(line));
    await says("leads");
    child.stdin.write("first\n");
    await says("done first");
    const other = await servers.start();
    output = "";
    child.kill("SIGSTOP");
    // It lies in the paused process' input, to be read before any timer of it can fire.
    child.stdin.write("paused\n");
    await eventually("the other one leads", () => other.consensus.isLeader());
    await other.consensus.propose(encode("second"));
    child.kill("SIGCONT");
    await says("failed paused NotLeaderError");
    await says("believes false");
    await other.consensus.propose(encode("third"));
    assert.deepEqual(other.machine.commands, ["first", "second", "third"]);
    child.stdin.write("late\n");
    await says("failed late NotLeaderError");
  });

  it("writes nothing even when its clock is wrong: etcd refuses the transaction", async (t) => {
    const keys = new Keys("/fence", "global");
    const config = EtcdConfig.parse({ endpoints: etcd.endpoints });
    const client = await EtcdClient.create(config);
    t.after(() => client.close());
    const raw = etcd.client();
    t.after(() => raw.close());
    const take = async () => Number((await raw.put(keys.leader).value("me")).header.revision);
    const lost: string[] = [];
    const failures: Error[] = [];
    const writerOf = (term: number, tail = START) =>
      new LogWriter({
        client,
        keys,
        config,
        log: quietLogger,
        metrics: quietMetrics,
        term,
        tail,
        // A clock that stands still.
        isValid: () => true,
        deliver: ({ index, term: of }) => {
          for (const one of writers) one.settle(index, of, index);
        },
        onLost: (reason) => lost.push(reason),
        onFatal: (error) => failures.push(error),
      });
    const writers: LogWriter[] = [];
    const first = writerOf(await take());
    writers.push(first);
    assert.equal((await first.propose(encode("a"))).index, 1);
    const second = writerOf(await take(), first.tail);
    writers.push(second);
    const outcomes = await Promise.allSettled([first.propose(encode("b")), first.propose(encode("c"))]);
    for (const outcome of outcomes) {
      assert.ok(outcome.status === "rejected" && outcome.reason instanceof NotLeaderError);
    }
    assert.deepEqual(lost, ["another server leads"]);
    await assert.rejects(first.propose(encode("d")), NotLeaderError);
    assert.equal((await second.propose(encode("e"))).index, 2);
    assert.equal((await raw.getAll().prefix("/fence/global/log/").keys()).length, 2);
    // Somebody else moves the end of the log: nothing can be trusted then.
    await raw.put(keys.tail).value("7 7");
    await assert.rejects(second.propose(encode("f")), NotLeaderError);
    assert.match(failures[0]!.message, /tail in etcd is "7 7" and should be "2 \d+"/);
  });
});
