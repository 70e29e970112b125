/** A worker thread of the store's tests: answers what it sees of the state and of the node columns. */
import { parentPort, workerData } from "node:worker_threads";
import type { ColumnBuffers } from "@drover/plugin-sdk";
import { type LmdbSnapshot, openReader, SharedNodeColumns } from "../../../core/state/read/index.js";

const { path, columns } = workerData as { path: string; columns: ColumnBuffers };
const reader = openReader(path);
const nodes = new SharedNodeColumns(columns);

let held: LmdbSnapshot | undefined;

parentPort?.on("message", (request: { nodeId: string; hold?: boolean } | "close") => {
  if (request === "close") {
    held?.close();
    void reader.close().then(() => parentPort?.close());
    return;
  }
  const snapshot = reader.snapshot();
  if (request.hold === true) held = reader.snapshot();
  const row = nodes.row(request.nodeId);
  parentPort?.postMessage({
    index: snapshot.index,
    allocations: snapshot.allocationsByNode(request.nodeId).map((allocation) => allocation.ID),
    job: snapshot.job("default", "web")?.Status,
    cpuUsed: row === undefined ? undefined : nodes.cpuUsed[row],
    ...(held === undefined
      ? {}
      : { held: { index: held.index, jobs: Array.from(held.jobs(), (job) => job.ID) } }),
    rack: row === undefined ? undefined : nodes.values("meta.rack")[nodes.codes("meta.rack")[row]!],
  });
  snapshot.close();
});
