/**
 * Arguments in the form of Go's flag package, as Nomad's users type them, to the form of commander: `-config FILE`,
 * `-config=FILE` and `-verbose` get their second dash; `-detach=true` becomes `--detach`, `-detach=false` goes, and
 * `-diff=false` becomes `--no-diff` where there is such a flag. Single letters (`-f`), negative numbers, a lone `-` and
 * everything after `--` stay as they are.
 *
 * @param isBoolean whether a flag of this name takes no value
 */
export function normalizeArgv(argv: readonly string[], isBoolean: (flag: string) => boolean): string[] {
  const normal: string[] = [];
  for (const [i, argument] of argv.entries()) {
    if (argument === "--") return [...normal, ...argv.slice(i)];
    const [, name, value] = /^--?([a-zA-Z][\w.-]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === undefined) normal.push(argument);
    else if (value === undefined) normal.push(`--${name}`);
    else if (!isBoolean(name)) normal.push(`--${name}=${value}`);
    else if (/^(true|t|1)$/i.test(value)) normal.push(`--${name}`);
    else if (!/^(false|f|0)$/i.test(value)) normal.push(`--${name}=${value}`);
    else if (isBoolean(`no-${name}`)) normal.push(`--no-${name}`);
  }
  return normal;
}
