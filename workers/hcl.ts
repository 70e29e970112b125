/**
 * Thread entry: HashiCorp's HCL2 parser (Go compiled to WebAssembly, about 100 ms to load and 50 MB of memory), kept
 * off the main thread. Takes `{ id, file, text }`, answers `{ id, error }`: null when the text is valid HCL2, else the
 * parser's diagnostics.
 */
import { createRequire } from "node:module";
import { parentPort } from "node:worker_threads";

// Loaded with require because the package's own types drag in the DOM library.
const { parse } = createRequire(import.meta.url)("@cdktn/hcl2json") as {
  parse(file: string, text: string): Promise<unknown>;
};

if (parentPort === null) throw new Error("workers/hcl.js runs as a worker thread, not by itself");
const port = parentPort;

port.on("message", async (request: { id: number; file: string; text: string }) => {
  let error: string | null = null;
  try {
    await parse(request.file, request.text);
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown);
  }
  port.postMessage({ id: request.id, error });
});
