import { definePlugin, Scheduler } from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";

/** Places batch jobs: allocations that run to their end and are done. */
export default definePlugin({
  name: "scheduler-batch",
  description:
    "Schedules batch jobs: runs each allocation to its end once, and failed ones again as the job allows",
  provides: [Scheduler],
  register(container) {
    container.registerInstance(Scheduler, genericScheduler({ type: "batch", batch: true }));
  },
});
