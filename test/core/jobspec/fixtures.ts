import { readFileSync } from "node:fs";

/** Recorded jobs and API answers of Nomad 1.1.0; see fixtures/. The tests run from dist/, the fixtures stay here. */
const folder = new URL("../../../../test/core/jobspec/fixtures/", import.meta.url);

export const JOB_FILES = ["batch", "connect", "param", "periodic", "toobig", "web"] as const;

export function jobText(name: (typeof JOB_FILES)[number]): string {
  return readFileSync(new URL(`jobs/${name}.hcl`, folder), "utf8");
}

export function recorded(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, folder), "utf8"));
}

export function recordedText(name: string): string {
  return readFileSync(new URL(name, folder), "utf8");
}

export const examples = new URL("../../../../examples/", import.meta.url);
