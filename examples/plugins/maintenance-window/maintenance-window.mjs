import { definePlugin, NodeFilter } from "@drover/plugin-sdk";
import { rowsOf } from "@drover/plugin-sdk/scheduling";
import { z } from "zod";

const WINDOW = /^(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?Z)\/(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?Z)$/;

/** Keeps allocations off nodes that are, or soon will be, taken down for maintenance. */
function maintenanceFilter({ attribute, lead_minutes }, now) {
  return {
    name: "maintenance-window",
    filter(candidates, { columns }) {
      const time = now();
      // One look a distinct window; nodes are maintained in groups.
      const closed = columns.values(attribute).map((window) => {
        const [, from, to] = WINDOW.exec(window ?? "") ?? [];
        return (
          from !== undefined && time >= Date.parse(from) - lead_minutes * 60_000 && time < Date.parse(to)
        );
      });
      const codes = columns.codes(attribute);
      let removed = 0;
      for (const row of rowsOf(candidates)) {
        if (!closed[codes[row]]) continue;
        candidates.remove(row);
        removed++;
      }
      return removed === 0 ? {} : { "maintenance window": removed };
    },
  };
}

export default definePlugin({
  name: "maintenance-window",
  description: "Keeps allocations off nodes in or shortly before their maintenance window",
  config: z.strictObject({
    attribute: z.string().default("meta.maintenance_window"),
    lead_minutes: z.number().min(0).default(30),
  }),
  provides: [NodeFilter],
  register: (container, config) =>
    void container.registerInstance(NodeFilter, maintenanceFilter(config, Date.now)),
});
