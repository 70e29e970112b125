import "reflect-metadata";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Plugin, Token } from "@drover/plugin-sdk";
import { container } from "tsyringe";
import { ROOT } from "../integration/process.js";

/** File of an example plugin. */
export const exampleFile = (name: string): string => join(ROOT, "examples", "plugins", name, `${name}.mjs`);

/** What an example plugin registers for a token, as a scheduling thread would have it. */
export async function loadExample<T>(name: string, token: Token<T>, config: object = {}): Promise<T> {
  const { default: plugin } = (await import(pathToFileURL(exampleFile(name)).href)) as { default: Plugin };
  const own = container.createChildContainer();
  plugin.register(own, plugin.config.parse(config) as never);
  return own.resolve<T>(token);
}
