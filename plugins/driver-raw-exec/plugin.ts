import { join } from "node:path";
import { AgentInfo, definePlugin, Logger, TaskDriver } from "@drover/plugin-sdk";
import { instanceCachingFactory } from "tsyringe";
import { z } from "zod";
import { RawExecDriver } from "./driver.js";
import { denylistOf } from "./host-environment.js";

const Config = z.strictObject({
  /** Default: only in development mode, as Nomad; tasks run unconfined with the agent's rights. */
  enabled: z.boolean().optional(),
  /** Nomad's; accepted and without effect, because tasks are tracked by session and not by cgroup. */
  no_cgroups: z.boolean().optional(),
});

/** Milliseconds that an executor stays without tasks and agent, and tasks of a development agent without it. */
const LINGER = 30_000;
const DEV_TETHER = 10_000;

export default definePlugin({
  name: "driver-raw-exec",
  description: "Task driver raw_exec: runs programs of the host, which survive the agent",
  config: Config,
  requires: [Logger, AgentInfo],
  provides: [TaskDriver],
  register(container, config) {
    container.register<TaskDriver>(TaskDriver, {
      useFactory: instanceCachingFactory((scope) => {
        const agent = scope.resolve<AgentInfo>(AgentInfo);
        const { options, state_dir } = agent.config.client;
        const legacy = options["driver.raw_exec.enable"];
        const enabled =
          config.enabled ?? (legacy === undefined ? agent.devMode : ["1", "true"].includes(legacy));
        return new RawExecDriver(scope.resolve<Logger>(Logger), {
          enabled,
          stateDir: state_dir === "" ? join(agent.dataDir, "client") : state_dir,
          denylist: denylistOf(options),
          linger: LINGER,
          tether: agent.devMode ? DEV_TETHER : 0,
        });
      }),
    });
  },
});
