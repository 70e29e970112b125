import { definePlugin, Scheduler } from "@drover/plugin-sdk";
import { systemScheduler } from "@drover/plugin-sdk/scheduling";

/** Places system jobs: keeps one allocation running on every feasible node. */
export default definePlugin({
  name: "scheduler-system",
  description: "Schedules system jobs: keeps one allocation running on every feasible node",
  provides: [Scheduler],
  register(container) {
    container.registerInstance(Scheduler, systemScheduler({ type: "system", batch: false }));
  },
});
