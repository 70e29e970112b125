import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative, sep } from "node:path";

const CONDITIONS = new Set(["node", "import", "default"]);

/**
 * The module file of an npm package as `import` would find it from one of `roots`, or undefined where no root has the
 * package. (`import.meta.resolve` can't start from another folder in Node 20, and `require.resolve` refuses packages
 * that only offer `import`.) Throws an Error for a package that is there but can't be imported.
 */
export function resolvePackage(specifier: string, roots: readonly string[]): string | undefined {
  const found = /^((?:@[^/]+\/)?[^/@.][^/]*)(\/.+)?$/.exec(specifier);
  if (found === null) throw new Error("that is not the name of an npm package");
  const name = found[1]!;
  const subpath = `.${found[2] ?? ""}`;
  for (const root of roots) {
    for (const folder of createRequire(join(root, "_.js")).resolve.paths(name) ?? []) {
      const packageFolder = join(folder, name);
      if (existsSync(join(packageFolder, "package.json")))
        return entryOf(realpathSync(packageFolder), subpath);
    }
  }
  return undefined;
}

function entryOf(folder: string, subpath: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    exports?: unknown;
    main?: string;
  };
  const target =
    manifest.exports === undefined
      ? subpath === "."
        ? (manifest.main ?? "index.js")
        : subpath
      : exportTarget(manifest.exports, subpath);
  if (target === undefined) throw new Error(`its package.json does not export "${subpath}"`);
  const file = join(folder, target);
  if (relative(folder, file).split(sep)[0] === "..")
    throw new Error(`its entry ${target} leaves the package`);
  if (!existsSync(file)) throw new Error(`its entry ${file} does not exist`);
  return file;
}

/** The target of `subpath` in an `exports` field (https://nodejs.org/api/packages.html#package-entry-points). */
function exportTarget(exports: unknown, subpath: string): string | undefined {
  const isMap =
    typeof exports === "object" &&
    exports !== null &&
    Object.keys(exports).some((key) => key.startsWith("."));
  if (isMap) return conditional((exports as Record<string, unknown>)[subpath]);
  return subpath === "." ? conditional(exports) : undefined;
}

function conditional(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(conditional).find((target) => target !== undefined);
  if (typeof value !== "object" || value === null) return undefined;
  for (const [condition, target] of Object.entries(value)) {
    const found = CONDITIONS.has(condition) ? conditional(target) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}
