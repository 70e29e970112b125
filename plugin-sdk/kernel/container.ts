import type { DependencyContainer } from "tsyringe";
import type { Token } from "./token.js";

/**
 * Everything that was provided for a multi-valued token, in the order in which the providers start; an empty list where
 * nobody provides it (tsyringe's own `resolveAll` throws then).
 */
export function resolveAll<T>(container: DependencyContainer, token: Token<T>): T[] {
  return container.isRegistered(token, true) ? container.resolveAll<T>(token) : [];
}

/** What was provided for a token, or undefined where nobody provides it: for tokens a plugin lists as `optional`. */
export function resolveOptional<T>(container: DependencyContainer, token: Token<T>): T | undefined {
  return container.isRegistered(token, true) ? container.resolve<T>(token) : undefined;
}
