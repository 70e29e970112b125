/** Regular expressions in RE2's syntax, which Nomad uses: matched in linear time, without look-around and back-references. */
import { RE2JS } from "re2js";

/** Throws an Error that says what RE2 can't read. */
export function compileRe2(pattern: string): RE2JS {
  return RE2JS.compile(pattern);
}

/** `text` with every match of `pattern` replaced; `$1`, `${1}` and `${name}` refer to groups. */
export function replaceRe2(text: string, pattern: string, replacement: string): string {
  const references = replacement.replace(/\$\{(\w+)\}/g, (_, name: string) =>
    /^\d+$/.test(name) ? `$${name}` : `$<${name}>`,
  );
  return compileRe2(pattern).matcher(text).replaceAll(references);
}
