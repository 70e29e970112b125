/** Drover's version, as its package says. */
import { readFileSync } from "node:fs";

export function droverVersion(): string {
  const manifest = new URL("../../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}
