/**
 * Typed tokens of the dependency-injection container.
 *
 * A token is a registered symbol, so two copies of the SDK in one process (a plugin that brought its own) still agree,
 * and tsyringe takes it as it is: `constructor(@inject(Logger) private readonly log: Logger)`.
 */
declare const tokenType: unique symbol;

/** What a token resolves to: one provider in the kernel, or a list of any length. */
export type Cardinality = "single" | "multiple";

/** A typed key of the container. `T` is what it resolves to (each element, where the token is multi-valued). */
export type Token<T> = symbol & { readonly [tokenType]?: T };

export interface TokenInfo {
  /** Name as errors and documents show it, for example `Consensus`. */
  readonly name: string;
  readonly cardinality: Cardinality;
}

const registryKey = Symbol.for("drover.sdk.tokens");
const globals = globalThis as { [registryKey]?: Map<symbol, TokenInfo> };
const registry: Map<symbol, TokenInfo> = globals[registryKey] ?? new Map<symbol, TokenInfo>();
globals[registryKey] = registry;

/**
 * Declares a token. Declaring the same name again gives the same token; declaring it with another cardinality throws,
 * because two plugins would then disagree about what resolves.
 */
export function createToken<T>(name: string, cardinality: Cardinality = "single"): Token<T> {
  const token = Symbol.for(`drover.token.${name}`);
  const known = registry.get(token);
  if (known !== undefined && known.cardinality !== cardinality) {
    throw new Error(`token ${name} is already declared as ${known.cardinality}-valued`);
  }
  registry.set(token, { name, cardinality });
  return token as Token<T>;
}

/** Name and cardinality of a token; throws a TypeError for a symbol that `createToken` did not make. */
export function tokenInfo(token: Token<unknown>): TokenInfo {
  const info = registry.get(token);
  if (info === undefined)
    throw new TypeError(`${String(token)} is not a token: declare it with createToken()`);
  return info;
}
