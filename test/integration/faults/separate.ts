import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { FaultName } from "./faults.js";
import { startInNamespace } from "./namespaces.js";

const RUN = fileURLToPath(new URL("./run.js", import.meta.url));

/** The proof with a network namespace for each server, and what it says; everything in there ends with the test. */
export async function proveInNamespaces(
  t: TestContext,
  seed: number,
  faults: readonly FaultName[],
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "drover-namespaces-"));
  const child = startInNamespace(RUN, [String(seed), ...faults], { TMPDIR: folder });
  const closed = once(child, "close");
  t.after(async () => {
    child.kill("SIGKILL");
    await closed;
    rmSync(folder, { recursive: true, force: true });
  });
  let said = "";
  let errors = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [code] = (await closed) as [number | null];
  for (const line of said.trimEnd().split("\n")) t.diagnostic(line);
  if (code !== 0) throw new Error(`the proof ended with ${code}:\n${said}${errors}`);
  return said;
}
