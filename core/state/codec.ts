/**
 * Commands as the log carries them: MessagePack of `[codec version, command type, payload]`. The payload is the command's
 * own object, except for plans, which are packed tightly (see plan-codec.ts): they are most of the log.
 */
import { Packr } from "msgpackr";
import { type Command, type CommandPayloads, CommandType } from "./commands.js";
import { type PackedPlan, packPlan, unpackPlan } from "./plan-codec.js";

/** Version of the encoding. A command of a newer version is refused, never guessed at. */
export const COMMAND_CODEC_VERSION = 1;

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
  const payload = command.type === CommandType.PlanApply ? packPlan(command.payload) : command.payload;
  return new Uint8Array(packer.encode([COMMAND_CODEC_VERSION, command.type, payload]));
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
  const plan: CommandPayloads[typeof CommandType.PlanApply] = unpackPlan(payload as PackedPlan);
  return { type, payload: plan };
}

function unpack(data: Uint8Array): unknown {
  try {
    return packer.decode(data as Buffer);
  } catch (error) {
    throw new Error("log entry is not readable as MessagePack", { cause: error });
  }
}
