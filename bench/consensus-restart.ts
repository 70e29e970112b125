/** An agent with a large state is started: until it answers for a job, after an orderly end and after a death. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { drover, freePorts, type Running } from "../test/integration/process.js";
import { ConsensusServers } from "./consensus-servers.js";
import { jobId } from "./consensus-state.js";
import { quantile } from "./quantile.js";

/** Milliseconds between two questions, and until none is asked any more. */
const PACE = 5;
const PATIENCE = 120_000;

interface Served {
  /** From the process's start to a read that may be stale, and to one of a leader; milliseconds. */
  readonly stale: number;
  readonly consistent: number;
}

export async function measureRestarts(allocations: number, runs: number): Promise<object> {
  const servers = await ConsensusServers.create(1, "state");
  try {
    const builder = await servers.begin();
    await builder.process.ask("fill", allocations);
    const { applied, snapshot } = await builder.process.ask("status", null);
    await servers.stop(builder);
    const agent = await TimedAgent.create(servers.folderOf(0), builder.address);
    // The first one of all writes what a cluster is given once.
    await agent.start();
    await agent.end("SIGINT");
    const ended: Served[] = [];
    const killed: Served[] = [];
    for (let i = 0; i < runs; i++) {
      ended.push(await agent.start());
      await agent.end("SIGKILL");
      killed.push(await agent.start());
      await agent.end("SIGINT");
    }
    return {
      allocations,
      runs,
      entries: applied,
      entries_after_snapshot: applied - snapshot,
      after_end: summary(ended),
      after_kill: summary(killed),
    };
  } finally {
    await servers.destroy();
  }
}

function summary(times: readonly Served[]): object {
  const stale = times.map((each) => each.stale);
  const consistent = times.map((each) => each.consistent);
  return {
    stale_read_ms: quantile(stale, 0.5),
    read_ms: quantile(consistent, 0.5),
    worst_read_ms: quantile(consistent, 1),
  };
}

class TimedAgent {
  #running: Running | undefined;

  private constructor(
    private readonly config: string,
    private readonly api: string,
  ) {}

  static async create(dataDir: string, rpcAddress: string): Promise<TimedAgent> {
    const [http = 0, serf = 0, broker = 0] = await freePorts(3);
    const config = join(dataDir, "bench.hcl");
    writeFileSync(
      config,
      `name      = "bench"
data_dir  = "${dataDir}"
bind_addr = "127.0.0.1"
log_level = "WARN"
ports {
  http = ${http}
  rpc  = ${rpcAddress.split(":").at(-1)}
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
    return new TimedAgent(config, `http://127.0.0.1:${http}/v1`);
  }

  async start(): Promise<Served> {
    const begin = performance.now();
    this.#running = drover(["agent", "-config", this.config]);
    const stale = await this.#answered(`/job/${jobId(0)}?stale`, begin);
    const consistent = await this.#answered(`/job/${jobId(0)}/allocations`, begin);
    return { stale, consistent };
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    await this.#running?.kill(signal);
  }

  async #answered(path: string, begin: number): Promise<number> {
    for (;;) {
      const running = this.#running!;
      const since = performance.now() - begin;
      if (!running.alive || since > PATIENCE) {
        await running.kill("SIGKILL");
        throw new Error(`${path} was not served after ${Math.round(since)} ms:\n${running.output}`);
      }
      try {
        const answer = await fetch(`${this.api}${path}`, { signal: AbortSignal.timeout(10_000) });
        await answer.arrayBuffer();
        if (answer.ok) return performance.now() - begin;
      } catch (error) {
        // Nobody listens yet.
        if (!(error instanceof TypeError)) throw error;
      }
      await delay(PACE);
    }
  }
}
