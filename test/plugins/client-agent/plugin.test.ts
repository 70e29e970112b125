import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import "reflect-metadata";
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import {
  AgentInfo,
  AgentLink,
  ClientStatus,
  isPlugin,
  Logger,
  Metrics,
  TaskDriver,
} from "@drover/plugin-sdk";
import { container as root } from "tsyringe";
import clientAgent from "../../../plugins/client-agent/plugin.js";
import rawExec from "../../../plugins/driver-raw-exec/plugin.js";
import { FakeLink, makeAgentInfo, makeAllocation, shellTask, until } from "./fixtures.js";
import { temporaryFolder } from "./harness.js";

test("both plugins work through their container: a job runs, and the end of a development agent ends it", async () => {
  assert.ok(isPlugin(clientAgent) && isPlugin(rawExec));
  const dataDir = temporaryFolder();
  const link = new FakeLink();
  const container = root.createChildContainer();
  container.registerInstance(Logger, quietLogger);
  container.registerInstance(Metrics, quietMetrics);
  container.registerInstance(AgentInfo, makeAgentInfo(dataDir, { devMode: true }));
  container.registerInstance(AgentLink, link);
  rawExec.register(container, rawExec.config.parse({}));
  clientAgent.register(container, clientAgent.config.parse({}));
  const context = {
    name: clientAgent.name,
    config: {},
    container,
    log: quietLogger,
    signal: new AbortController().signal,
    fatal: (error: Error) => {
      throw error;
    },
  };
  await clientAgent.start?.(context);
  const status = container.resolve<ClientStatus>(ClientStatus);
  assert.match(status.nodeId, /^[0-9a-f-]{36}$/);
  const alloc = makeAllocation([shellTask("server", "echo hello; sleep 600")]);
  await link.push(alloc);
  await until("running", () => link.last(alloc.ID)?.ClientStatus === "running");
  assert.deepEqual(status.health(), { ok: true, message: "ok" });
  await clientAgent.stop?.(context);
  const [driver] = container.resolveAll<TaskDriver>(TaskDriver);
  assert.equal(await driver?.find?.(`${alloc.ID}/server`), undefined);
});

test("raw_exec is off outside of development mode unless the operator allows it, and unknown keys are errors", async () => {
  const detected = async (config: object, overrides: Parameters<typeof makeAgentInfo>[1]) => {
    const container = root.createChildContainer();
    container.registerInstance(Logger, quietLogger);
    container.registerInstance(AgentInfo, makeAgentInfo(join(temporaryFolder()), overrides));
    rawExec.register(container, rawExec.config.parse(config));
    return (await container.resolve<TaskDriver>(TaskDriver).fingerprint()).Detected;
  };
  assert.equal(await detected({}, {}), false);
  assert.equal(await detected({}, { devMode: true }), true);
  assert.equal(await detected({ enabled: true }, {}), true);
  assert.equal(await detected({ enabled: false }, { devMode: true }), false);
  assert.equal(await detected({}, { client: { options: { "driver.raw_exec.enable": "1" } } }), true);
  assert.throws(() => rawExec.config.parse({ enable: true }));
});
