/** Errors of plugins, told apart from those of the server. */
import { MainThreadError } from "./main-port.js";

/** A plugin broke its contract. The same state makes it do so again, so its evaluation is not delivered again. */
export class PluginFault extends Error {
  override readonly name = "PluginFault";
}

/** A plugin threw. */
class PluginFailure extends Error {
  override readonly name = "PluginFailure";
}

/** `scheduler plugin "x"`, `node filter "n" of plugin "x"`. */
export type Culprit = string;

/** What a plugin threw, in words that name it. What isn't its doing, or names a plugin already, stays as it is. */
export function failureOf(culprit: Culprit, thrown: unknown): Error {
  if (thrown instanceof PluginFault || thrown instanceof PluginFailure || thrown instanceof MainThreadError)
    return thrown;
  return new PluginFailure(`${culprit}: ${reasonOf(thrown)}`, { cause: thrown });
}

/** Longest reason that is stored with an evaluation. */
const MAX_REASON = 1_000;

function reasonOf(thrown: unknown): string {
  let text: string;
  try {
    text =
      thrown instanceof Error ? thrown.message || thrown.name : `threw ${String(thrown)}, which is no Error`;
  } catch {
    // Its own description fails.
    text = "threw something that can't be shown";
  }
  return text.length > MAX_REASON ? `${text.slice(0, MAX_REASON)}…` : text;
}
