/** Enrolment of agents: one-time join tokens and pinned keys. */
import type { CommandPayloads, CommandType } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";

const SHA256_HEX = /^[0-9a-f]{64}$/;

export function issueJoinToken(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JoinTokenIssue],
): CommandRefused | undefined {
  if (!SHA256_HEX.test(payload.Hash))
    return new CommandRefused("join token: the hash is not a SHA-256 in hex");
  if (txn.joinToken(payload.Hash) !== null) return new CommandRefused("join token: it was issued before");
  txn.putJoinToken(payload.Hash, { Expires: payload.Expires, UsedBy: null, CreateIndex: txn.index });
  return undefined;
}

export function enrollNode(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeEnroll],
): CommandRefused | undefined {
  const { NodeID, PublicKey, TokenHash, Time } = payload;
  const refuse = (why: string): CommandRefused => new CommandRefused(`enrolment of node ${NodeID}: ${why}`);
  const token = SHA256_HEX.test(TokenHash) ? txn.joinToken(TokenHash) : null;
  if (token === null) return refuse("the join token is not known");
  const same = token.UsedBy?.NodeID === NodeID && token.UsedBy.PublicKey === PublicKey;
  if (token.UsedBy !== null && !same) return refuse("the join token was used before");
  const pinned = txn.agentKey(NodeID);
  if (pinned !== null && pinned.PublicKey !== PublicKey)
    return refuse("the node enrolled with another key before");
  // The answer to the first try may have been lost: the same again is fine, expired or not.
  if (same && pinned !== null) return undefined;
  if (token.Expires <= Time) return refuse(`the join token expired at ${rfc3339(token.Expires)}`);
  txn.putJoinToken(TokenHash, { ...token, UsedBy: { NodeID, PublicKey } });
  if (pinned === null) txn.putAgentKey(NodeID, { PublicKey, EnrolledIndex: txn.index });
  return undefined;
}
