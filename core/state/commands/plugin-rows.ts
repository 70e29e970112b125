/** Rows of plugins' own tables. */
import type { CommandPayloads, CommandType } from "../commands.js";
import { createRowPacker } from "../read/rows.js";
import { CommandRefused } from "../refusal.js";
import type { StateTransaction } from "../transaction.js";

/** Largest row, bytes. */
export const PLUGIN_ROW_LIMIT = 1024 * 1024;
/** Longest key, bytes. */
export const PLUGIN_KEY_LIMIT = 400;
/** Longest name of a plugin or a table, bytes. */
const NAME_LIMIT = 128;

const packer = createRowPacker();

export function putPluginRow(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.PluginRowPut],
): CommandRefused | undefined {
  const refusal = checkNames(payload);
  if (refusal !== null) return refusal;
  const size = packer.encode(payload.Value).length;
  if (size > PLUGIN_ROW_LIMIT)
    return refuse(payload, `the value has ${size} bytes, the limit is ${PLUGIN_ROW_LIMIT}`);
  txn.putPluginRow(payload.Plugin, payload.Table, payload.Key, payload.Value);
  return undefined;
}

/** Deleting a row that does not exist is not an error. */
export function deletePluginRow(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.PluginRowDelete],
): CommandRefused | undefined {
  const refusal = checkNames(payload);
  if (refusal !== null) return refusal;
  if (txn.pluginRow(payload.Plugin, payload.Table, payload.Key) === undefined) return undefined;
  txn.removePluginRow(payload.Plugin, payload.Table, payload.Key);
  return undefined;
}

interface RowName {
  readonly Plugin: string;
  readonly Table: string;
  readonly Key: string;
}

function checkNames(row: RowName): CommandRefused | null {
  for (const name of [row.Plugin, row.Table]) {
    if (name === "" || name.includes("\0") || Buffer.byteLength(name) > NAME_LIMIT) {
      return refuse(row, `names of plugins and tables have 1 to ${NAME_LIMIT} bytes and no null character`);
    }
  }
  const size = Buffer.byteLength(row.Key);
  if (size === 0 || size > PLUGIN_KEY_LIMIT) {
    return refuse(row, `the key has ${size} bytes; 1 to ${PLUGIN_KEY_LIMIT} are allowed`);
  }
  return null;
}

function refuse(row: RowName, why: string): CommandRefused {
  return new CommandRefused(`row of plugin "${row.Plugin}", table "${row.Table}": ${why}`);
}
