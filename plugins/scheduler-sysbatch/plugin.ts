import { definePlugin, Scheduler } from "@drover/plugin-sdk";
import { systemScheduler } from "@drover/plugin-sdk/scheduling";

/** Places sysbatch jobs: runs on every feasible node to its end, once. */
export default definePlugin({
  name: "scheduler-sysbatch",
  description: "Schedules sysbatch jobs: runs on every feasible node to its end, once",
  provides: [Scheduler],
  register(container) {
    container.registerInstance(Scheduler, systemScheduler({ type: "sysbatch", batch: true }));
  },
});
