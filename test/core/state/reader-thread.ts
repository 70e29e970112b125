/** A worker thread of the store's tests: answers what it sees of the state and of the node columns. */
import { parentPort, workerData } from "node:worker_threads";
import type { ColumnBuffers } from "@drover/plugin-sdk";
import { openReader, SharedNodeColumns } from "../../../core/state/read/index.js";

const { path, columns } = workerData as { path: string; columns: ColumnBuffers };
const reader = openReader(path);
const nodes = new SharedNodeColumns(columns);

parentPort?.on("message", (request: { nodeId: string } | "close") => {
  if (request === "close") {
    void reader.close().then(() => parentPort?.close());
    return;
  }
  const snapshot = reader.snapshot();
  const row = nodes.row(request.nodeId);
  parentPort?.postMessage({
    index: snapshot.index,
    allocations: snapshot.allocationsByNode(request.nodeId).map((allocation) => allocation.ID),
    job: snapshot.job("default", "web")?.Status,
    cpuUsed: row === undefined ? undefined : nodes.cpuUsed[row],
    rack: row === undefined ? undefined : nodes.values("meta.rack")[nodes.codes("meta.rack")[row]!],
  });
  snapshot.close();
});
