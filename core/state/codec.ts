/**
 * Commands as the log carries them: MessagePack of `[codec version, command type, payload]`. The payload is the command's
 * own object, except for plans, whose placements are packed tightly (see read/plan-block.ts): they are most of the log.
 */
import { Packr } from "msgpackr";
import { type Command, CommandType } from "./commands.js";
import { type FirstPlanForm, unpackFirstForm } from "./plan-first-form.js";
import { PlanBlock } from "./read/plan-block.js";
import { COMMAND_CODEC_VERSION, encodePlanCommand, type PackedPlan } from "./read/plan-command.js";

const NAMES = new Map<number, string>(Object.entries(CommandType).map(([name, type]) => [type, name]));

const packer = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

/** A log entry that this version of Drover can't apply. It must not be skipped: the state would differ from its peers'. */
export class UnknownCommandError extends Error {
  override readonly name = "UnknownCommandError";
}

/** Name of a command type, for logs and errors. */
export function commandName(type: number): string {
  return NAMES.get(type) ?? `command ${type}`;
}

export function encodeCommand(command: Command): Uint8Array {
  if (command.type === CommandType.PlanApply) return encodePlanCommand(command.payload);
  return new Uint8Array(packer.encode([COMMAND_CODEC_VERSION, command.type, command.payload]));
}

/** Throws an UnknownCommandError for a newer codec version or an unknown type, and an Error for what is no command. */
export function decodeCommand(data: Uint8Array): Command {
  const decoded = unpack(data);
  if (!Array.isArray(decoded) || decoded.length !== 3)
    throw new Error("log entry is not a command of Drover");
  const [version, type, payload] = decoded as [unknown, unknown, unknown];
  if (version !== COMMAND_CODEC_VERSION) {
    throw new UnknownCommandError(
      `log entry has command codec version ${String(version)}, this server knows ${COMMAND_CODEC_VERSION}: upgrade it before it can follow its peers`,
    );
  }
  if (typeof type !== "number" || !NAMES.has(type)) {
    throw new UnknownCommandError(
      `log entry has command type ${String(type)}, which this server does not know: upgrade it before it can follow its peers`,
    );
  }
  if (typeof payload !== "object" || payload === null) throw new Error(`${commandName(type)} has no payload`);
  if (type !== CommandType.PlanApply) return { type, payload } as Command;
  if (!("block" in payload)) return { type, payload: unpackFirstForm(payload as FirstPlanForm) };
  const { rest, block } = payload as PackedPlan;
  return { type, payload: { ...rest, Placed: new PlanBlock(block) } };
}

function unpack(data: Uint8Array): unknown {
  try {
    return packer.decode(data as Buffer);
  } catch (error) {
    throw new Error("log entry is not readable as MessagePack", { cause: error });
  }
}
