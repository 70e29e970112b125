import type { ReplicatedState, ReplicatedTable, StateReader } from "@drover/plugin-sdk";
import { CommandType } from "../state/index.js";
import type { CommandLog } from "./command-log.js";

/** Plugins' own tables: read from the state, written through the log. */
export class PluginTables implements ReplicatedState {
  constructor(
    private readonly state: StateReader,
    private readonly log: CommandLog,
  ) {}

  table<Row>(plugin: string, table: string): ReplicatedTable<Row> {
    const { state, log } = this;
    return {
      get(key) {
        using snapshot = state.snapshot();
        return snapshot.pluginRow(plugin, table, key) as Row | undefined;
      },
      list(prefix) {
        using snapshot = state.snapshot();
        return [...snapshot.pluginRows(plugin, table, prefix)] as { key: string; value: Row }[];
      },
      async put(key, value) {
        return (
          await log.propose(CommandType.PluginRowPut, {
            Plugin: plugin,
            Table: table,
            Key: key,
            Value: value,
          })
        ).index;
      },
      async delete(key) {
        return (await log.propose(CommandType.PluginRowDelete, { Plugin: plugin, Table: table, Key: key }))
          .index;
      },
    };
  }
}
