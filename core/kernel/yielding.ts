import { type Plugin, type Token, tokenInfo } from "@drover/plugin-sdk";

/**
 * Without the plugins that nobody asked for and that a named one makes superfluous: a `plugin` block of one that provides
 * the same is enough to take the place of a built-in. Where both are named both stay, and ordering them says what is wrong.
 */
export function withoutSuperfluous<T extends { readonly plugin: Plugin }>(
  loaded: readonly T[],
  /** Whether the configuration has a block of this name. */
  isNamed: (name: string) => boolean,
): T[] {
  const provided = new Set<Token<unknown>>(
    loaded.filter(({ plugin }) => isNamed(plugin.name)).flatMap(({ plugin }) => plugin.provides),
  );
  const isSuperfluous = ({ provides }: Plugin) =>
    provides.length > 0 &&
    provides.every((token) => tokenInfo(token).cardinality === "single" && provided.has(token));
  return loaded.filter(({ plugin }) => isNamed(plugin.name) || !isSuperfluous(plugin));
}
