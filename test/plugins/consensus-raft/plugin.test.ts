import { MemoryNetwork, quietMetrics } from "@drover/plugin-sdk/testing";
import "reflect-metadata";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AgentInfo, Consensus, Logger, Metrics, type PluginContext, ServerNetwork } from "@drover/plugin-sdk";
import { container } from "tsyringe";
import { RaftConfig } from "../../../plugins/consensus-raft/config.js";
import type { RaftConsensus } from "../../../plugins/consensus-raft/consensus.js";
import plugin from "../../../plugins/consensus-raft/plugin.js";
import { encode, ListLogger, ListMachine, startAlone, temporaryFolder } from "./support.js";

describe("plugin consensus-raft", () => {
  it("binds a Consensus that keeps its id and leads after start", async () => {
    const folder = await temporaryFolder();
    const scope = container.createChildContainer();
    const log = new ListLogger();
    const advertise = { http: "", rpc: "127.0.0.1:4647", serf: "" };
    scope.register<Partial<AgentInfo>>(AgentInfo, {
      useValue: { dataDir: folder.path, devMode: true, region: "global", advertise },
    });
    scope.register<Logger>(Logger, { useValue: log });
    scope.register<ServerNetwork>(ServerNetwork, { useValue: new MemoryNetwork().join(advertise.rpc) });
    scope.register<Metrics>(Metrics, { useValue: quietMetrics });
    const context: PluginContext<RaftConfig> = {
      name: plugin.name,
      config: plugin.config.parse({}),
      container: scope,
      log,
      signal: new AbortController().signal,
      fatal: (error) => assert.fail(error),
    };
    try {
      plugin.register(scope, context.config);
      await plugin.start?.(context);
      const consensus = scope.resolve<RaftConsensus>(Consensus);
      assert.equal(scope.resolve<Consensus>(Consensus), consensus);
      assert.equal(`${consensus.id}\n`, await readFile(join(folder.path, "server", "node-id"), "utf8"));
      await startAlone(consensus, new ListMachine());
      assert.ok((await consensus.propose(encode("a"))).index > 0);
      await plugin.stop?.(context);
      assert.equal(consensus.isLeader(), false);
    } finally {
      await folder.remove();
    }
  });

  it("refuses unknown keys and senseless values with the key's name", () => {
    assert.throws(() => RaftConfig.parse({ snapshot_treshold: 1 }), /snapshot_treshold/);
    assert.throws(() => RaftConfig.parse({ max_inflight: 0 }), /max_inflight/);
  });
});
