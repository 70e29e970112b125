import {
  type AutopilotSettings,
  generateUUID,
  type Logger,
  type SchedulerSettings,
  type StateReader,
} from "@drover/plugin-sdk";
import { CommandType } from "../state/index.js";
import { type CommandLog, unixNanos } from "./command-log.js";

export interface FoundingParts {
  readonly state: StateReader;
  readonly commands: CommandLog;
  /** Settings for a cluster that has none yet, from this server's configuration. */
  readonly schedulers: SchedulerSettings;
  readonly autopilot: AutopilotSettings;
  readonly log: Logger;
}

/** What a cluster is given once, by its first leader: its identity, and the settings of the configuration. */
export class ClusterFounding {
  constructor(private readonly parts: FoundingParts) {}

  /** Writes what is missing, as long as `holds` says that this server leads. */
  async complete(holds: () => boolean): Promise<void> {
    const { state, commands, schedulers, autopilot } = this.parts;
    const missing: (readonly [what: string, write: () => Promise<unknown>])[] = [];
    {
      using snapshot = state.snapshot();
      if (snapshot.clusterMetadata() === null) {
        const Metadata = { ClusterID: generateUUID(), CreateTime: unixNanos() };
        missing.push([
          "the identifier of the cluster",
          () => commands.propose(CommandType.ClusterMetadataInit, { Metadata }),
        ]);
      }
      if (snapshot.schedulerConfiguration().ModifyIndex === 0) {
        const Config = { ...schedulers, CreateIndex: 0, ModifyIndex: 0 };
        missing.push([
          "default_scheduler_config",
          () => commands.propose(CommandType.SchedulerConfigUpdate, { Config, ModifyIndex: 0 }),
        ]);
      }
      if (snapshot.autopilotConfiguration().ModifyIndex === 0) {
        const Config = { ...autopilot, CreateIndex: 0, ModifyIndex: 0 };
        missing.push([
          "the autopilot configuration",
          () => commands.propose(CommandType.AutopilotConfigUpdate, { Config, ModifyIndex: 0 }),
        ]);
      }
    }
    for (const [what, write] of missing) if (holds()) await this.#try(what, write);
  }

  async #try(what: string, write: () => Promise<unknown>): Promise<void> {
    try {
      await write();
    } catch (error) {
      // A full disk, for one: what runs must go on, and the next leader tries again.
      this.parts.log.warn(
        { error: error instanceof Error ? error.message : String(error) },
        `${what} could not be written; the next leader tries again`,
      );
    }
  }
}
