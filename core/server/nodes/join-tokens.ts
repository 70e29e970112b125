import { createHash, randomBytes } from "node:crypto";
import type { JoinTokens } from "@drover/plugin-sdk";
import { EndpointError, formatJoinToken } from "@drover/plugin-sdk";
import { z } from "zod";
import type { Hold } from "../../rpc/forwarding/hold.js";
import type { LeaderCalls } from "../../rpc/forwarding/leader-calls.js";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import type { ClusterKey } from "./cluster-key.js";

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
    private readonly key: Pick<ClusterKey, "current">,
    private readonly hold: Hold,
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
    const clusterKey = await this.#clusterKey();
    const secret = randomBytes(32);
    await this.#record(createHash("sha256").update(secret).digest("hex"), ttl);
    return formatJoinToken({ clusterKey, secret });
  }

  /** A server that has just started gets it in a moment. */
  async #clusterKey(): Promise<Uint8Array> {
    const held = this.hold.begin();
    for (;;) {
      const pair = this.key.current;
      if (pair !== undefined) return pair.publicKey;
      if (held.left() <= 0) {
        throw new EndpointError(
          500,
          "this server does not have the cluster's key for agents: its log says why; ask another server",
        );
      }
      await held.pause();
    }
  }
}
