/** Module hooks, run by Node in a thread of their own (see `sdk-resolution.ts`). */
import type { ResolveHook } from "node:module";

/** Packages that plugins are written against; where a plugin brings none of its own, it gets those of this package. */
const SHARED = /^(?:@drover\/plugin-sdk|reflect-metadata|tsyringe|zod)(?:\/|$)/;

export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  try {
    return await nextResolve(specifier, context);
  } catch (error) {
    if (!SHARED.test(specifier) || (error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND")
      throw error;
    return nextResolve(specifier, { ...context, parentURL: import.meta.url });
  }
};
