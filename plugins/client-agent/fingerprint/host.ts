import { existsSync, readFileSync } from "node:fs";
import { constants, hostname, platform, release } from "node:os";

/** Kernel, distribution, host name, and the signals a job may ask for. */
export function fingerprintHost(): Record<string, string> {
  const { name, version } = distribution();
  return {
    "kernel.name": platform(),
    "kernel.version": release(),
    "os.name": name,
    "os.version": version,
    "os.signals": Object.keys(constants.signals).join(","),
    "unique.hostname": hostname(),
  };
}

function distribution(): { name: string; version: string } {
  const path = ["/etc/os-release", "/usr/lib/os-release"].find((candidate) => existsSync(candidate));
  if (path === undefined) return { name: platform(), version: release() };
  const text = readFileSync(path, "utf8");
  const field = (key: string) => new RegExp(`^${key}="?([^"\\n]*)"?$`, "m").exec(text)?.[1] ?? "";
  const name = field("ID").toLowerCase() || platform();
  // Debian's VERSION_ID has no point release.
  const debian = name === "debian" && existsSync("/etc/debian_version");
  const exact = debian ? readFileSync("/etc/debian_version", "utf8").trim() : "";
  return { name, version: /^\d/.test(exact) ? exact : field("VERSION_ID") };
}
