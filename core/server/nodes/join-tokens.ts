import { createHash, randomBytes } from "node:crypto";
import type { AgentTransport, JoinTokens } from "@drover/plugin-sdk";
import { EndpointError, formatJoinToken } from "@drover/plugin-sdk";
import { z } from "zod";
import type { LeaderCalls } from "../../rpc/forwarding/leader-calls.js";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";

/** Milliseconds: a token may live a minute to thirty days. */
const MIN_TTL = 60_000;
const MAX_TTL = 30 * 24 * 3_600_000;

/**
 * Issues one-time join tokens. The state holds the secret's SHA-256 alone, so neither log nor snapshot can enrol; the secret
 * itself stays on the server that was asked.
 */
export class JoinTokenIssuer implements JoinTokens {
  readonly #record;

  constructor(
    log: CommandLog,
    private readonly transport: AgentTransport,
    calls: LeaderCalls,
  ) {
    this.#record = calls.define(
      "Node.RecordJoinToken",
      z.tuple([z.string().regex(/^[0-9a-f]{64}$/), z.number().min(MIN_TTL).max(MAX_TTL)]),
      async (Hash, ttl) => {
        const now = unixNanos();
        await log.propose(CommandType.JoinTokenIssue, { Hash, Expires: now + ttl * 1e6, Time: now });
      },
    );
  }

  async issue(ttl: number): Promise<string> {
    if (!Number.isFinite(ttl) || ttl < MIN_TTL || ttl > MAX_TTL) {
      throw new EndpointError(400, "TTL of a join token must be between 1 minute and 30 days");
    }
    const pair = this.transport.clusterKeyPair();
    if (pair === undefined) {
      throw new EndpointError(
        500,
        "this server does not have the cluster's key for agents yet: try again shortly",
      );
    }
    const secret = randomBytes(32);
    await this.#record(createHash("sha256").update(secret).digest("hex"), ttl);
    return formatJoinToken({ clusterKey: pair.publicKey, secret });
  }
}
