/** A task's log as one run of bytes over its rotated files. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { FileFrame } from "@drover/plugin-sdk";
import { sleep } from "../clock.js";
import { openInside } from "./confine.js";

export interface LogStreamRequest {
  /** Folder of the allocation. */
  readonly root: string;
  readonly task: string;
  readonly type: "stdout" | "stderr";
  readonly follow: boolean;
  readonly origin: "start" | "end";
  readonly offset: number;
  /** Whether the task may still write. */
  readonly live: () => boolean;
  readonly signal: AbortSignal;
}

/** Bytes a frame at most. */
const CHUNK = 64 * 1024;
/** How often a followed file is looked at, milliseconds. */
const POLL = 150;
const FOLDER = join("alloc", "logs");

/** Goes on over rotations; ends at the end, or with `follow` when the task is dead and all was read. */
export async function* streamLog(request: LogStreamRequest): AsyncGenerator<FileFrame> {
  const { root, signal } = request;
  let position = await startingPoint(request);
  while (position === undefined) {
    if (!request.follow || !request.live() || signal.aborted) return;
    await sleep(POLL, signal);
    position = await startingPoint(request);
  }
  let { number, offset } = position;
  while (!signal.aborted) {
    const name = join(FOLDER, `${request.task}.${request.type}.${number}`);
    const opened = await openInside(root, name).catch(missing);
    if (opened !== undefined) {
      const { file } = opened;
      try {
        for (;;) {
          // Asked before reading: what was written before the task died is read before the end is believed.
          const last = !request.follow || !request.live();
          const next = await nextNumber(request, number);
          const buffer = Buffer.allocUnsafe(CHUNK);
          const { bytesRead } = await file.read(buffer, 0, CHUNK, offset);
          if (signal.aborted) return;
          if (bytesRead > 0) {
            offset += bytesRead;
            yield { File: name, Offset: offset, Data: buffer.subarray(0, bytesRead) };
            continue;
          }
          if (next !== undefined) break;
          if (last) return;
          await sleep(POLL, signal);
          if (signal.aborted) return;
        }
      } finally {
        await file.close();
      }
    }
    const following = await nextNumber(request, number);
    if (following === undefined) {
      if (!request.follow || !request.live()) return;
      await sleep(POLL, signal);
      continue;
    }
    number = following;
    offset = 0;
  }
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
  return undefined;
}

async function logFiles({ root, task, type }: LogStreamRequest): Promise<{ number: number; size: number }[]> {
  const folder = join(root, FOLDER);
  const prefix = `${task}.${type}.`;
  const names = (await readdir(folder).catch(missing)) ?? [];
  const found: { number: number; size: number }[] = [];
  for (const name of names) {
    if (!name.startsWith(prefix) || !/^\d{1,9}$/.test(name.slice(prefix.length))) continue;
    const info = await stat(join(folder, name)).catch(missing);
    if (info?.isFile() === true) found.push({ number: Number(name.slice(prefix.length)), size: info.size });
  }
  return found.sort((a, b) => a.number - b.number);
}

async function nextNumber(request: LogStreamRequest, after: number): Promise<number | undefined> {
  return (await logFiles(request)).find((file) => file.number > after)?.number;
}

/** The file and offset that `origin` and `offset` mean; undefined while there is no log. */
async function startingPoint(
  request: LogStreamRequest,
): Promise<{ number: number; offset: number } | undefined> {
  const files = await logFiles(request);
  const last = files.at(-1);
  if (last === undefined) return undefined;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let skip = request.origin === "start" ? request.offset : Math.max(0, total - request.offset);
  for (const file of files) {
    if (skip < file.size || file === last) return { number: file.number, offset: Math.min(skip, file.size) };
    skip -= file.size;
  }
  return undefined;
}
