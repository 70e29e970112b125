import type { ReplicatedState, ReplicatedTable, StateReader } from "@drover/plugin-sdk";
import { z } from "zod";
import type { LeaderCalls } from "../rpc/forwarding/leader-calls.js";
import { CommandType } from "../state/index.js";
import type { CommandLog } from "./command-log.js";

/** Milliseconds that this server has to apply what the leader wrote, so that who wrote a row reads it. */
const APPLY_LIMIT = 5_000;

/** Plugins' own tables: read from the state, written through the leader's log. */
export class PluginTables implements ReplicatedState {
  readonly #put;
  readonly #delete;

  constructor(
    private readonly state: StateReader,
    log: CommandLog,
    calls: LeaderCalls,
  ) {
    const key = [z.string(), z.string(), z.string()] as const;
    this.#put = calls.define(
      "PluginRow.Put",
      z.tuple([...key, z.unknown()]),
      async (Plugin, Table, Key, Value) =>
        (await log.propose(CommandType.PluginRowPut, { Plugin, Table, Key, Value })).index,
    );
    this.#delete = calls.define(
      "PluginRow.Delete",
      z.tuple([...key]),
      async (Plugin, Table, Key) =>
        (await log.propose(CommandType.PluginRowDelete, { Plugin, Table, Key })).index,
    );
  }

  table<Row>(plugin: string, table: string): ReplicatedTable<Row> {
    const { state } = this;
    const applied = async (written: Promise<number>): Promise<number> => {
      const index = await written;
      await state.waitForIndex(index, APPLY_LIMIT);
      return index;
    };
    return {
      get(key) {
        using snapshot = state.snapshot();
        return snapshot.pluginRow(plugin, table, key) as Row | undefined;
      },
      list(prefix) {
        using snapshot = state.snapshot();
        return [...snapshot.pluginRows(plugin, table, prefix)] as { key: string; value: Row }[];
      },
      put: (key, value) => applied(this.#put(plugin, table, key, value)),
      delete: (key) => applied(this.#delete(plugin, table, key)),
    };
  }
}
