/** What worker threads need of the state: snapshots of the same environment, and the node columns. */
export { SharedNodeColumns } from "./columns.js";
export { statusOf } from "./job-status.js";
export { openReader, type ReaderHandle } from "./open-reader.js";
export { onlyCounts, packPlan } from "./pack-plan.js";
export { LmdbSnapshot } from "./snapshot.js";
export { ThreadFence } from "./thread-fence.js";
