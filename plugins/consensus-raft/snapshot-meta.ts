import { parseConfiguration } from "./core/configuration.js";
import type { SnapshotMeta } from "./core/types.js";

/** Throws a TypeError for what is no description of a snapshot. */
export function snapshotMeta(about: Readonly<Record<string, unknown>>): SnapshotMeta {
  const { index, term } = about;
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(term)) {
    throw new TypeError("its metadata lacks index or term");
  }
  return {
    index: index as number,
    term: term as number,
    configuration: parseConfiguration(about.configuration),
  };
}
