/** A client agent with the real raw_exec driver on a link without a network. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { AllocationUpdate, TaskEvent } from "@drover/plugin-sdk";
import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { ClientAgent } from "../../../plugins/client-agent/agent.js";
import { RawExecDriver } from "../../../plugins/driver-raw-exec/driver.js";
import { type AgentOverrides, FakeLink, makeAgentInfo, until } from "./fixtures.js";

export interface Harness {
  readonly agent: ClientAgent;
  readonly link: FakeLink;
  readonly dataDir: string;
  readonly driver: RawExecDriver;
  /** Waits until the servers were told that an allocation has this status. */
  reported(id: string, status: AllocationUpdate["ClientStatus"]): Promise<AllocationUpdate>;
}

const running = new Set<Harness>();
const folders = new Set<string>();
after(async () => {
  for (const harness of running) await harness.agent.stop();
  for (const folder of folders) {
    await endExecutors(folder);
    rmSync(folder, { recursive: true, force: true });
  }
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "drover-client-"));
  folders.add(folder);
  return folder;
}

export function makeDriver(dataDir: string): RawExecDriver {
  return new RawExecDriver(quietLogger, {
    enabled: true,
    stateDir: join(dataDir, "client"),
    denylist: [],
    linger: 500,
    tether: 0,
  });
}

/** Kills every task that a stopped agent left running. */
export async function endExecutors(dataDir: string): Promise<void> {
  const driver = makeDriver(dataDir);
  await driver.find("none/none");
  await driver.shutdown({ killTasks: true });
}

export async function startAgent(
  overrides: AgentOverrides & { readonly dataDir?: string; readonly link?: FakeLink } = {},
): Promise<Harness> {
  const dataDir = overrides.dataDir ?? temporaryFolder();
  const link = overrides.link ?? new FakeLink();
  const driver = makeDriver(dataDir);
  const agent = new ClientAgent({
    log: quietLogger,
    metrics: quietMetrics,
    agent: makeAgentInfo(dataDir, overrides),
    link,
    drivers: [driver],
  });
  const harness: Harness = {
    agent,
    link,
    dataDir,
    driver,
    async reported(id, status) {
      const seen = () => JSON.stringify(link.last(id)?.TaskStates);
      await until(`allocation ${status}`, () => link.last(id)?.ClientStatus === status).catch(
        (error: Error) => {
          throw new Error(`${error.message}; last report ${link.last(id)?.ClientStatus}: ${seen()}`);
        },
      );
      return link.last(id)!;
    },
  };
  running.add(harness);
  await agent.start();
  return harness;
}

export async function stopAgent(harness: Harness): Promise<void> {
  running.delete(harness);
  await harness.agent.stop();
}

export function eventTypes(update: AllocationUpdate, task: string): string[] {
  return eventsOf(update, task).map((event) => event.Type);
}

export function eventsOf(update: AllocationUpdate, task: string): readonly TaskEvent[] {
  return update.TaskStates[task]?.Events ?? [];
}
