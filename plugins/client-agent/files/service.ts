/** What servers may see of an allocation's files. Everything stays inside its folder, and secrets stay secret. */
import { lstat, realpath } from "node:fs/promises";
import { basename, relative, sep } from "node:path";
import { type AgentStreams, type AllocFileInfo, type FileFrame, RemoteError } from "@drover/plugin-sdk";
import { confine, openInside, PathEscapes } from "./confine.js";
import { contentType, describe, listFolder } from "./listing.js";
import { streamLog } from "./log-stream.js";

export interface FileOwner {
  readonly folder: string;
  /** Names of its tasks. */
  readonly tasks: readonly string[];
  /** Whether the task may still write. */
  readonly live: (task: string) => boolean;
}

/** Bytes a frame at most. */
const CHUNK = 64 * 1024;

export class FileService {
  /** `owner` throws a `RemoteError` for an allocation that isn't here. */
  constructor(private readonly owner: (allocId: string) => FileOwner) {}

  async list(allocId: string, path: string): Promise<AllocFileInfo[]> {
    const owner = this.owner(allocId);
    return translate(path, async () => {
      const real = await confine(owner.folder, path);
      await refuseSecrets(owner, real);
      return listFolder(real);
    });
  }

  async stat(allocId: string, name: string): Promise<AllocFileInfo> {
    const owner = this.owner(allocId);
    return translate(name, async () => {
      const real = await confine(owner.folder, name);
      const stat = await lstat(real, { bigint: true });
      const info = describe(basename(real), stat);
      if (!stat.isFile()) return info;
      await refuseSecrets(owner, real);
      const path = relative(await realpath(owner.folder), real);
      return { ContentType: await contentType(owner.folder, path), ...info };
    });
  }

  async *read(request: AgentStreams["fs.read"]["request"], signal: AbortSignal): AsyncGenerator<FileFrame> {
    const owner = this.owner(request.allocId);
    const { file, real } = await translate(request.path, async () => {
      const opened = await openInside(owner.folder, request.path);
      try {
        await refuseSecrets(owner, opened.real);
      } catch (error) {
        await opened.file.close();
        throw error;
      }
      return opened;
    });
    try {
      const root = await realpath(owner.folder);
      const end = request.limit > 0 ? request.offset + request.limit : Number.POSITIVE_INFINITY;
      let offset = Math.max(0, request.offset);
      while (offset < end && !signal.aborted) {
        const size = Math.min(CHUNK, end - offset);
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(size), 0, size, offset);
        if (bytesRead === 0) return;
        offset += bytesRead;
        yield { File: relative(root, real), Offset: offset, Data: buffer.subarray(0, bytesRead) };
      }
    } finally {
      await file.close();
    }
  }

  async *logs(request: AgentStreams["fs.logs"]["request"], signal: AbortSignal): AsyncGenerator<FileFrame> {
    const owner = this.owner(request.allocId);
    if (!owner.tasks.includes(request.task)) {
      throw new RemoteError("bad_request", `unknown task name "${request.task}"`);
    }
    if (request.type !== "stdout" && request.type !== "stderr") {
      throw new RemoteError(
        "bad_request",
        `log type must be "stdout" or "stderr", not "${String(request.type)}"`,
      );
    }
    yield* streamLog({
      ...request,
      root: owner.folder,
      offset: Math.max(0, request.offset),
      live: () => owner.live(request.task),
      signal,
    });
  }
}

/** `real` is a real path inside the allocation's folder, whose own name may go through links. */
async function refuseSecrets(owner: FileOwner, real: string): Promise<void> {
  const path = relative(await realpath(owner.folder), real);
  const [task = "", folder] = path.split(sep);
  if (owner.tasks.includes(task) && folder === "secrets") {
    throw new RemoteError("forbidden", `Reading secret file prohibited: ${path}`);
  }
}

async function translate<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof PathEscapes) throw new RemoteError("bad_request", error.message);
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new RemoteError("not_found", `${path}: no such file or directory`);
    if (code === "ENOTDIR") throw new RemoteError("bad_request", `${path}: not a directory`);
    if (code !== undefined && !(error instanceof RemoteError)) {
      throw new RemoteError("internal", `${path}: ${code}`);
    }
    if (error instanceof RemoteError) throw error;
    throw new RemoteError("bad_request", message);
  }
}
