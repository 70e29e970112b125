/**
 * Agents at scale: a server with its durable log and embedded broker, and N agents over real MQTT connections, all in this
 * process. Each agent enrols with a join token of its own, registers, takes its assignment and reports it running.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { AgentClientHandler, AllocationUpdate, AssignmentDelta } from "@drover/plugin-sdk";
import { eventually, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { boot } from "../core/cli/boot.js";
import { MqttAgentLink } from "../plugins/mqtt/agent-link.js";
import { MqttConfig } from "../plugins/mqtt/config.js";
import { paperJob, paperNode } from "../test/core/server/bench-server.js";
import { freePorts } from "../test/integration/process.js";

/** Allocations of one job. */
const JOB_SIZE = 100;
/** Enrolments under way at once, as when a rack is switched on. */
const ENROLLING = 50;

interface Counters {
  registered: number;
  received: number;
}

class PaperAgent {
  readonly node = paperNode();
  readonly link: MqttAgentLink;
  readonly #known = new Map<string, number>();

  constructor(
    url: string,
    token: string,
    private readonly folder: string,
    private readonly counters: Counters,
  ) {
    this.link = new MqttAgentLink({
      config: MqttConfig.parse({ broker: { url } }).broker,
      urls: () => [url],
      joinToken: { available: true, read: async () => token },
      software: "drover-bench",
      log: quietLogger,
      metrics: quietMetrics,
    });
  }

  /** Resolves when the node is registered and has its first assignment. */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      const handler: AgentClientHandler = {
        handle: async (_method, request) => {
          const delta = request as AssignmentDelta;
          void this.#take(delta);
          return { index: delta.index } as never;
        },
        // biome-ignore lint/correctness/useYield: these agents have no files
        async *stream() {
          throw new Error("bench agents have no files");
        },
        connection: (connected) => {
          if (connected) this.#register().then(resolve, reject);
        },
      };
      this.link
        .open({ nodeId: this.node.ID, stateDir: join(this.folder, this.node.ID), region: "global", handler })
        .catch(reject);
    });
  }

  async #register(): Promise<void> {
    await this.link.call("node.register", { node: this.node }, { timeout: 60_000 });
    this.counters.registered++;
    await this.#take(await this.link.call("assignment.pull", { known: {} }, { timeout: 60_000 }));
  }

  async #take(delta: AssignmentDelta): Promise<void> {
    const updates: AllocationUpdate[] = [];
    for (const allocation of delta.upserts) {
      if (!this.#known.has(allocation.ID)) this.counters.received++;
      this.#known.set(allocation.ID, allocation.AllocModifyIndex);
      updates.push({
        ID: allocation.ID,
        NodeID: this.node.ID,
        ClientStatus: allocation.DesiredStatus === "run" ? "running" : "complete",
        ClientDescription: "Tasks are running",
        TaskStates: {},
        DeploymentStatus: null,
        NetworkStatus: null,
      });
    }
    if (updates.length > 0) await this.link.call("allocation.update", { updates }, { timeout: 60_000 });
  }
}

/** `--agents N` (500), `--allocs N` (5000). */
export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: { agents: { type: "string", default: "500" }, allocs: { type: "string", default: "5000" } },
  });
  const agents = Number(values.agents);
  const allocs = Number(values.allocs);
  const folder = await mkdtemp(join(tmpdir(), "drover-bench-"));
  const [http = 0, rpc = 0, serf = 0, broker = 0] = await freePorts(4);
  const config = join(folder, "server.hcl");
  await writeFile(
    config,
    `data_dir  = "${join(folder, "data")}"
bind_addr = "127.0.0.1"
log_level = "ERROR"
ports {
  http = ${http}
  rpc  = ${rpc}
  serf = ${serf}
}
server {
  enabled          = true
  bootstrap_expect = 1
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
  let failed: Error | undefined;
  const server = await boot({
    dev: false,
    paths: [config],
    flags: {},
    logToStdout: false,
    onFatal: (error) => {
      failed = error;
    },
  });
  const api = `http://127.0.0.1:${http}/v1`;
  const call = async (path: string, body?: object): Promise<unknown> => {
    if (failed !== undefined) throw failed;
    const answer = await fetch(
      `${api}${path}`,
      body === undefined ? {} : { method: "POST", body: JSON.stringify(body) },
    );
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const running: PaperAgent[] = [];
  const counters: Counters = { registered: 0, received: 0 };
  try {
    await server.start();
    const tokens: string[] = [];
    for (let i = 0; i < agents; i++) {
      tokens.push(((await call("/operator/join-token", { TTL: "1h" })) as { JoinToken: string }).JoinToken);
    }

    const begin = performance.now();
    for (let at = 0; at < agents; at += ENROLLING) {
      const batch = tokens
        .slice(at, at + ENROLLING)
        .map(
          (token) => new PaperAgent(`mqtt://127.0.0.1:${broker}`, token, join(folder, "agents"), counters),
        );
      running.push(...batch);
      await Promise.all(batch.map((agent) => agent.open()));
    }
    const enrolled = performance.now();

    const jobs = Math.ceil(allocs / JOB_SIZE);
    for (let i = 0; i < jobs; i++) {
      const count = Math.min(JOB_SIZE, allocs - i * JOB_SIZE);
      await call("/jobs", { Job: paperJob(`bench-${i}`, count, 20) });
    }
    const submitted = performance.now();
    await eventually(`${allocs} allocations at their nodes`, () => counters.received >= allocs, 120_000);
    const received = performance.now();
    await eventually(
      `${allocs} allocations reported running`,
      async () => {
        const list = (await call("/jobs")) as {
          JobSummary: { Summary: Record<string, { Running: number }> };
        }[];
        const sum = list.reduce(
          (total, job) =>
            total + Object.values(job.JobSummary.Summary).reduce((each, group) => each + group.Running, 0),
          0,
        );
        return sum >= allocs;
      },
      120_000,
    );
    const reported = performance.now();
    return {
      agents,
      allocs,
      enroll_ms: Math.round(enrolled - begin),
      submit_ms: Math.round(submitted - enrolled),
      receive_ms: Math.round(received - enrolled),
      report_ms: Math.round(reported - enrolled),
      total_ms: Math.round(reported - begin),
      allocs_per_s: Math.round(allocs / ((reported - enrolled) / 1000)),
      rss_mb: Math.round(process.memoryUsage.rss() / 1e6),
    };
  } finally {
    await Promise.all(running.map((agent) => agent.link.close()));
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
