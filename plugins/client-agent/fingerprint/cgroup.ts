import { type Mount, readMounts } from "./mounts.js";

/** Where the cpu controller (version 1) or the unified tree (version 2) is mounted. */
export function fingerprintCgroup(mounts: readonly Mount[] = readMounts()): Record<string, string> {
  const mount =
    mounts.find((candidate) => candidate.type === "cgroup" && candidate.options.includes("cpu")) ??
    mounts.find((candidate) => candidate.type === "cgroup2");
  return mount === undefined ? {} : { "unique.cgroup.mountpoint": mount.point };
}
