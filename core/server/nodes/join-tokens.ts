import { createHash, randomBytes } from "node:crypto";
import type { AgentTransport, JoinTokens } from "@drover/plugin-sdk";
import { EndpointError, formatJoinToken } from "@drover/plugin-sdk";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";

/** Milliseconds: a token may live a minute to thirty days. */
const MIN_TTL = 60_000;
const MAX_TTL = 30 * 24 * 3_600_000;

/** Issues one-time join tokens. The state holds the secret's SHA-256 alone, so neither log nor snapshot can enrol. */
export class JoinTokenIssuer implements JoinTokens {
  constructor(
    private readonly log: CommandLog,
    private readonly transport: AgentTransport,
  ) {}

  async issue(ttl: number): Promise<string> {
    if (!Number.isFinite(ttl) || ttl < MIN_TTL || ttl > MAX_TTL) {
      throw new EndpointError(400, "TTL of a join token must be between 1 minute and 30 days");
    }
    const secret = randomBytes(32);
    const now = unixNanos();
    await this.log.propose(CommandType.JoinTokenIssue, {
      Hash: createHash("sha256").update(secret).digest("hex"),
      Expires: now + ttl * 1e6,
      Time: now,
    });
    return formatJoinToken({ clusterKey: this.transport.clusterKey(), secret });
  }
}
