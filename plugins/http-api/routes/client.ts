/** https://developer.hashicorp.com/nomad/api-docs/client: files, logs and usage, asked of the node that has them. */
import { setTimeout as delay } from "node:timers/promises";
import { type Allocation, type FileFrame, type FileType, HttpError, type Job } from "@drover/plugin-sdk";
import { type Answer, json, text } from "../answer.js";
import { checkUUID } from "../errors.js";
import { answerFrames, sniffType } from "../frames.js";
import type { ApiRequest } from "../request.js";
import { type Route, read, write } from "../route.js";
import { endpointsOf, type Services, stateOf } from "../services.js";

interface Located {
  readonly alloc: Allocation;
  readonly job: Job | null;
}

export function clientRoutes(services: Services): Route[] {
  const nodes = () => endpointsOf(services).nodes;
  return [
    read("/v1/client/fs/ls/:id", async (request) => {
      const { alloc } = locate(services, request);
      return json(
        await nodes().call(alloc.NodeID, "fs.list", { allocId: alloc.ID, path: pathOf(request, "/") }),
      );
    }),
    read("/v1/client/fs/stat/:id", async (request) => {
      const { alloc } = locate(services, request);
      return json(await nodes().call(alloc.NodeID, "fs.stat", { allocId: alloc.ID, path: pathOf(request) }));
    }),
    read("/v1/client/fs/cat/:id", (request) => file(services, request, 0, 0)),
    read("/v1/client/fs/readat/:id", (request) => {
      if (!request.query.has("offset")) throw new HttpError(400, "must specify offset");
      return file(services, request, request.count("offset", 0), request.count("limit", 0));
    }),
    read("/v1/client/fs/stream/:id", (request) => stream(services, request)),
    read("/v1/client/fs/logs/:id", (request) => logs(services, request)),
    read("/v1/client/allocation/:id/stats", async (request) => {
      const { alloc } = locate(services, request);
      const task = request.query.get("task") || undefined;
      return json(await nodes().call(alloc.NodeID, "allocation.stats", { allocId: alloc.ID, task }));
    }),
    write("/v1/client/allocation/:id/restart", async (request) => {
      const located = locate(services, request);
      const task = taskOf(located, request.optionalObject().TaskName);
      await nodes().call(located.alloc.NodeID, "allocation.restart", { allocId: located.alloc.ID, task });
      return json({ Index: 0 });
    }),
    write("/v1/client/allocation/:id/signal", async (request) => {
      const located = locate(services, request);
      const body = request.object();
      const task = taskOf(located, body.Task);
      if (typeof body.Signal !== "string" || body.Signal === "") {
        throw new HttpError(400, "missing required field: Signal, for example SIGHUP");
      }
      const call = { allocId: located.alloc.ID, task, signal: body.Signal };
      await nodes().call(located.alloc.NodeID, "allocation.signal", call);
      return json({ Index: 0 });
    }),
    read("/v1/client/stats", async (request) => {
      const id = request.query.get("node_id") || services.client?.nodeId;
      if (id === undefined)
        throw new HttpError(400, "node is not running a Nomad Client: name one with ?node_id=");
      checkUUID("node", id);
      if (withSnapshot(services, (snapshot) => snapshot.node(id)) === null)
        throw new HttpError(404, "Unknown node");
      return json(await nodes().call(id, "node.stats", {}));
    }),
  ];
}

function withSnapshot<T>(
  services: Services,
  look: (snapshot: ReturnType<ReturnType<typeof stateOf>["snapshot"]>) => T,
): T {
  using snapshot = stateOf(services).snapshot();
  return look(snapshot);
}

function locate(services: Services, request: ApiRequest): Located {
  const id = request.param("id");
  if (id === "") throw new HttpError(400, "must provide a valid alloc id");
  checkUUID("alloc", id);
  return withSnapshot(services, (snapshot) => {
    const alloc = snapshot.allocation(id);
    if (alloc === null) throw new HttpError(404, `Unknown allocation "${id}"`);
    return { alloc, job: snapshot.allocationJob(alloc) };
  });
}

function pathOf(request: ApiRequest, fallback?: string): string {
  const path = request.query.get("path") || fallback;
  if (path === undefined) throw new HttpError(400, "must provide a file name");
  return path;
}

function hasTask({ alloc, job }: Located, task: string): boolean {
  const group = job?.TaskGroups.find((candidate) => candidate.Name === alloc.TaskGroup);
  return group?.Tasks.some((candidate) => candidate.Name === task) ?? false;
}

/** A task named in a body; undefined (every task) where it is missing or "". */
function taskOf(located: Located, name: unknown): string | undefined {
  if (name === undefined || name === null || name === "") return undefined;
  if (typeof name !== "string" || !hasTask(located, name)) throw new HttpError(500, "Task not found");
  return name;
}

/** A path outside the allocation is answered as Nomad does: the refusal is the body, in place of the file. */
const ESCAPES = "Path escapes the alloc directory";

async function file(services: Services, request: ApiRequest, offset: number, limit: number): Promise<Answer> {
  const { alloc } = locate(services, request);
  const call = { allocId: alloc.ID, path: pathOf(request), offset, limit };
  const frames = endpointsOf(services).nodes.stream(alloc.NodeID, "fs.read", call, request.signal);
  try {
    return await answerFrames(frames, { framed: false, type: sniffType });
  } catch (error) {
    if (error instanceof Error && error.message === ESCAPES) return text(ESCAPES);
    throw error;
  }
}

function originOf(request: ApiRequest): "start" | "end" {
  const origin = request.query.get("origin") || "start";
  if (origin !== "start" && origin !== "end") throw new HttpError(400, "origin must be start or end");
  return origin;
}

async function logs(services: Services, request: ApiRequest): Promise<Answer> {
  const located = locate(services, request);
  const task = request.query.get("task");
  if (task === null || task === "") throw new HttpError(400, "must provide task name");
  const type = request.query.get("type");
  if (type !== "stdout" && type !== "stderr")
    throw new HttpError(400, "must provide log type (stdout/stderr)");
  const framed = !request.flag("plain");
  const call = {
    allocId: located.alloc.ID,
    task,
    type: type as FileType,
    follow: request.flag("follow"),
    origin: originOf(request),
    offset: request.count("offset", 0),
  };
  if (!hasTask(located, task)) throw new HttpError(400, `unknown task name "${task}"`);
  const frames = endpointsOf(services).nodes.stream(located.alloc.NodeID, "fs.logs", call, request.signal);
  return answerFrames(frames, { framed, type: framed ? "application/json" : "text/plain" });
}

function stream(services: Services, request: ApiRequest): Promise<Answer> {
  const { alloc } = locate(services, request);
  const path = pathOf(request);
  const origin = originOf(request);
  const offset = request.count("offset", 0);
  const follow = request.flag("follow", true);
  const frames = followFile(services, alloc, { path, origin, offset, follow }, request.signal);
  return answerFrames(frames, { framed: true, type: "application/json" });
}

/** How often a followed file is looked at. Milliseconds. */
const POLL = 1000;

/** A file's bytes, then what is added to it; says when it was cut or removed. */
async function* followFile(
  services: Services,
  alloc: Allocation,
  options: {
    readonly path: string;
    readonly origin: "start" | "end";
    readonly offset: number;
    readonly follow: boolean;
  },
  signal: AbortSignal,
): AsyncGenerator<FileFrame> {
  const { nodes } = endpointsOf(services);
  const { path } = options;
  const stat = () => nodes.call(alloc.NodeID, "fs.stat", { allocId: alloc.ID, path });
  let size = (await stat()).Size;
  let at = options.origin === "start" ? options.offset : Math.max(0, size - options.offset);
  for (;;) {
    if (size > at) {
      const call = { allocId: alloc.ID, path, offset: at, limit: size - at };
      for await (const frame of nodes.stream(alloc.NodeID, "fs.read", call, signal)) {
        at += frame.Data?.length ?? 0;
        yield { ...frame, Offset: at };
      }
    }
    if (!options.follow || signal.aborted) return;
    await delay(POLL, undefined, { signal });
    try {
      size = (await stat()).Size;
    } catch (error) {
      if ((error as { code?: unknown }).code !== "not_found") throw error;
      yield { File: path, Offset: at, FileEvent: "file deleted" };
      return;
    }
    if (size < at) {
      at = 0;
      yield { File: path, Offset: 0, FileEvent: "file truncated" };
    }
  }
}
