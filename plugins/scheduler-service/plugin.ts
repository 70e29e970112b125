import { definePlugin, Scheduler } from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";

/** Places service jobs: allocations that are to run until the job is stopped. */
export default definePlugin({
  name: "scheduler-service",
  description: "Schedules service jobs: keeps the wanted number of allocations running on the best nodes",
  provides: [Scheduler],
  register(container) {
    container.registerInstance(Scheduler, genericScheduler({ type: "service", batch: false }));
  },
});
