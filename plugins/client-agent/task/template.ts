/**
 * `template` blocks. Rendered are plain text, comments and `{{ env "NAME" }}`; anything else is an error, never silently
 * left out (https://developer.hashicorp.com/nomad/docs/job-specification/template).
 */
import type { Template } from "@drover/plugin-sdk";

/** Throws an Error that quotes the first action that can't be rendered. */
export function renderTemplate(
  text: string,
  delimiters: { readonly left: string; readonly right: string },
  env: Readonly<Record<string, string>>,
): string {
  const { left, right } = delimiters;
  let output = "";
  let rest = text;
  let trimNext = false;
  for (;;) {
    const start = rest.indexOf(left);
    let plain = start < 0 ? rest : rest.slice(0, start);
    if (trimNext) plain = plain.trimStart();
    if (start < 0) return output + plain;
    const end = rest.indexOf(right, start + left.length);
    if (end < 0) throw new Error(`"${left}" is never closed by "${right}"`);
    let action = rest.slice(start + left.length, end);
    if (/^-\s/.test(action)) {
      plain = plain.trimEnd();
      action = action.slice(1);
    }
    trimNext = /\s-$/.test(action);
    if (trimNext) action = action.slice(0, -1);
    output += plain + evaluate(action.trim(), env, left, right);
    rest = rest.slice(end + right.length);
  }
}

function evaluate(
  action: string,
  env: Readonly<Record<string, string>>,
  left: string,
  right: string,
): string {
  if (/^\/\*[\s\S]*\*\/$/.test(action)) return "";
  const variable = /^env\s+(?:"([^"\\]*)"|`([^`]*)`)$/.exec(action);
  if (variable !== null) return env[variable[1] ?? variable[2] ?? ""] ?? "";
  throw new Error(`can't render ${left} ${action} ${right}: only ${left} env "NAME" ${right} is supported`);
}

/** Variables of a rendered `env = true` template: `KEY=value` lines, `#` comments, quotes around a value dropped. */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const env: Record<string, string> = {};
  text.split("\n").forEach((raw, index) => {
    const line = raw.trim().replace(/^export\s+/, "");
    if (line === "" || line.startsWith("#")) return;
    const at = line.indexOf("=");
    if (at <= 0) throw new Error(`line ${index + 1} is not KEY=value`);
    const value = line.slice(at + 1).trim();
    const quoted = /^"(.*)"$|^'(.*)'$/.exec(value);
    env[line.slice(0, at).trim()] = quoted?.[1] ?? quoted?.[2] ?? value;
  });
  return env;
}

/** File mode of a template; throws for what is not octal. */
export function templateMode(template: Template): number {
  const perms = template.Perms === "" ? "0644" : template.Perms;
  if (!/^[0-7]{3,4}$/.test(perms)) throw new Error(`perms "${perms}" must be octal, as "0644"`);
  return Number.parseInt(perms, 8);
}
