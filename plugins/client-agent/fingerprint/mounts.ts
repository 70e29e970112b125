/** Mounted file systems, from /proc/self/mountinfo (proc(5)). */
import { readFileSync } from "node:fs";

export interface Mount {
  readonly point: string;
  readonly type: string;
  /** Device, or a name for what has none. */
  readonly source: string;
  /** Of the file system, where a cgroup names its controllers. */
  readonly options: readonly string[];
}

export function readMounts(path = "/proc/self/mountinfo"): Mount[] {
  const mounts: Mount[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    const [front = "", back = ""] = line.split(" - ");
    const point = front.split(" ")[4];
    const [type = "", source = "", options = ""] = back.split(" ");
    if (point === undefined) continue;
    mounts.push({
      point: decodeOctal(point),
      type,
      source: decodeOctal(source),
      options: options.split(","),
    });
  }
  return mounts;
}

/** The mount that a path lies on. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  const holds = (mount: Mount) =>
    mount.point === "/" || path === mount.point || path.startsWith(`${mount.point}/`);
  return mounts.filter(holds).sort((a, b) => b.point.length - a.point.length)[0];
}

/** Octal escapes of blanks. */
function decodeOctal(text: string): string {
  return text.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
