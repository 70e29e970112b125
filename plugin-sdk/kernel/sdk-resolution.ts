import { register } from "node:module";

let registered = false;

/**
 * Lets a plugin that lies anywhere on the disk import the SDK, and what the SDK is made of, without a `node_modules` folder
 * of its own. Called in each thread before the first plugin from elsewhere is imported there; with built-ins alone nobody
 * pays for the hooks.
 */
export function shareSdkWithPlugins(): void {
  if (registered) return;
  registered = true;
  register(new URL("./sdk-hooks.js", import.meta.url));
}
