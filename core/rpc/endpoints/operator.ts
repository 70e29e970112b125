import type {
  JoinTokens,
  Logger,
  OperatorEndpoint,
  SchedulerConfiguration,
  StateReader,
} from "@drover/plugin-sdk";
import { EndpointError } from "@drover/plugin-sdk";
import { z } from "zod";
import type { CommandLog } from "../../server/command-log.js";
import { collectGarbage } from "../../server/garbage.js";
import { CommandType } from "../../state/index.js";

const Algorithm = z.enum(["binpack", "spread"]);
const ConfigBody = z.object({
  SchedulerAlgorithm: z.string().optional(),
  MemoryOversubscriptionEnabled: z.boolean().optional(),
  PreemptionConfig: z
    .object({
      SystemSchedulerEnabled: z.boolean().optional(),
      BatchSchedulerEnabled: z.boolean().optional(),
      ServiceSchedulerEnabled: z.boolean().optional(),
    })
    .optional(),
});

/** `Operator.*` and `System.*`. */
export class Operator implements OperatorEndpoint {
  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
    private readonly joinTokens: JoinTokens,
    private readonly log: Logger,
  ) {}

  collectGarbage(): Promise<void> {
    return collectGarbage(this.state, this.commands, this.log);
  }

  schedulerConfiguration(): SchedulerConfiguration {
    using snapshot = this.state.snapshot();
    return snapshot.schedulerConfiguration();
  }

  async setSchedulerConfiguration(
    config: unknown,
  ): Promise<{ readonly Index: number; readonly Updated: boolean }> {
    const parsed = ConfigBody.safeParse(config);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new EndpointError(
        400,
        `scheduler configuration: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
      );
    }
    const body = parsed.data;
    const algorithm = Algorithm.safeParse(body.SchedulerAlgorithm || "binpack");
    if (!algorithm.success) {
      throw new EndpointError(400, `invalid scheduler algorithm: ${body.SchedulerAlgorithm}`);
    }
    const { index } = await this.commands.propose(CommandType.SchedulerConfigUpdate, {
      Config: {
        SchedulerAlgorithm: algorithm.data,
        MemoryOversubscriptionEnabled: body.MemoryOversubscriptionEnabled ?? false,
        PreemptionConfig: {
          SystemSchedulerEnabled: body.PreemptionConfig?.SystemSchedulerEnabled ?? false,
          BatchSchedulerEnabled: body.PreemptionConfig?.BatchSchedulerEnabled ?? false,
          ServiceSchedulerEnabled: body.PreemptionConfig?.ServiceSchedulerEnabled ?? false,
        },
        CreateIndex: 0,
        ModifyIndex: 0,
      },
    });
    return { Index: index, Updated: true };
  }

  issueJoinToken(ttl: number): Promise<string> {
    return this.joinTokens.issue(ttl);
  }
}
