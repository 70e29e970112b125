import type {
  AutopilotConfiguration,
  JoinTokens,
  LeadershipTransfer,
  OperatorEndpoint,
  OperatorHealthReply,
  RaftConfiguration,
  RaftPeerName,
  SchedulerConfiguration,
  StateReader,
} from "@drover/plugin-sdk";
import { EndpointError, NotLeaderError } from "@drover/plugin-sdk";
import { z } from "zod";
import type { Autopilot } from "../../server/autopilot/autopilot.js";
import { autopilotSettings } from "../../server/autopilot/settings.js";
import type { CommandLog } from "../../server/command-log.js";
import type { EvalBroker } from "../../server/evaluations/eval-broker.js";
import type { GarbageCollector } from "../../server/garbage/garbage-collector.js";
import { CommandType } from "../../state/index.js";
import type { OperatorRaft } from "./operator-raft.js";

const Algorithm = z.enum(["binpack", "spread"]);
const flag = z.boolean().default(false);
const ConfigBody = z.object({
  SchedulerAlgorithm: z.string().default(""),
  MemoryOversubscriptionEnabled: flag,
  RejectJobRegistration: flag,
  PauseEvalBroker: flag,
  PreemptionConfig: z
    .object({
      SystemSchedulerEnabled: flag,
      SysBatchSchedulerEnabled: flag,
      BatchSchedulerEnabled: flag,
      ServiceSchedulerEnabled: flag,
    })
    .prefault({}),
});

/** `Operator.*` and `System.*`. */
export class Operator implements OperatorEndpoint {
  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
    private readonly joinTokens: JoinTokens,
    private readonly broker: EvalBroker,
    private readonly garbage: GarbageCollector,
    private readonly autopilot: Autopilot,
    private readonly raft: OperatorRaft,
  ) {}

  async collectGarbage(): Promise<void> {
    if (this.schedulerConfiguration().PauseEvalBroker) {
      throw new EndpointError(
        500,
        "garbage is collected by a scheduler, and the evaluation broker is paused: resume it with drover operator scheduler set-config -pause-eval-broker=false",
      );
    }
    if (!this.broker.enabled) throw new NotLeaderError(undefined);
    this.garbage.force();
  }

  schedulerConfiguration(): SchedulerConfiguration {
    using snapshot = this.state.snapshot();
    return snapshot.schedulerConfiguration();
  }

  async setSchedulerConfiguration(
    config: unknown,
    cas?: number,
  ): Promise<{ readonly Index: number; readonly Updated: boolean }> {
    const parsed = ConfigBody.safeParse(config);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new EndpointError(
        400,
        `scheduler configuration: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
      );
    }
    const algorithm = Algorithm.safeParse(parsed.data.SchedulerAlgorithm || "binpack");
    if (!algorithm.success) {
      throw new EndpointError(400, `invalid scheduler algorithm: ${parsed.data.SchedulerAlgorithm}`);
    }
    const { index, result } = await this.commands.propose(CommandType.SchedulerConfigUpdate, {
      Config: { ...parsed.data, SchedulerAlgorithm: algorithm.data, CreateIndex: 0, ModifyIndex: 0 },
      ...(cas === undefined ? {} : { ModifyIndex: cas }),
    });
    return { Index: index, Updated: result !== false };
  }

  autopilotConfiguration(): AutopilotConfiguration {
    using snapshot = this.state.snapshot();
    return snapshot.autopilotConfiguration();
  }

  async setAutopilotConfiguration(
    config: unknown,
    cas?: number,
  ): Promise<{ readonly Index: number; readonly Updated: boolean }> {
    const { index, result } = await this.commands.propose(CommandType.AutopilotConfigUpdate, {
      Config: { ...autopilotSettings(config), CreateIndex: 0, ModifyIndex: 0 },
      ...(cas === undefined ? {} : { ModifyIndex: cas }),
    });
    return { Index: index, Updated: result !== false };
  }

  autopilotHealth(): Promise<OperatorHealthReply> {
    return this.autopilot.health();
  }

  raftConfiguration(): RaftConfiguration {
    return this.raft.raftConfiguration();
  }

  removeRaftPeer(peer: RaftPeerName): Promise<void> {
    return this.raft.removeRaftPeer(peer);
  }

  transferLeadership(peer: RaftPeerName): Promise<LeadershipTransfer> {
    return this.raft.transferLeadership(peer);
  }

  issueJoinToken(ttl: number): Promise<string> {
    return this.joinTokens.issue(ttl);
  }
}
