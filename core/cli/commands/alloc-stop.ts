import type { AllocStopResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { type FollowFlags, follow, withFollowFlags } from "./deployment.js";
import { findAllocation } from "./lookup.js";
import { attempt, openSession, type Session, withExamples } from "./session.js";

export function defineAllocStop(parent: Command): void {
  const command = parent
    .command("stop <alloc>")
    .summary("stop an allocation and have it replaced")
    .description(
      "Stops an allocation. Its job still wants it, so it is placed again, perhaps on another node.",
    )
    .action((id: string, _flags: unknown, self: Command) => stop(openSession(self), id, self.opts()));
  withExamples(withFollowFlags(command), ["drover alloc stop 1b2cb536", "and follow its replacement"]);
}

async function stop(session: Session, id: string, flags: FollowFlags): Promise<void> {
  const { ID } = await findAllocation(session, id);
  const answer = session.client.put<AllocStopResponse>(`/v1/allocation/${ID}/stop`, undefined);
  const { value } = await attempt("Error stopping allocation", answer);
  if (flags.detach === true) session.io.out(value.EvalID);
  await follow(session, value.EvalID, flags);
}
