/** Longest value printed in full in a line for people. */
const MAX_VALUE = 2000;

/**
 * One line for people, as Nomad prints it:
 * `2026-11-23T14:48:43.228Z [INFO]  nomad.raft: entering leader state: term=2`.
 */
export function humanLine(
  level: string,
  time: string,
  module: string,
  message: string,
  fields: object,
): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${valueText(value)}`);
  const head = `${time} ${`[${level}]`.padEnd(7)} ${module === "" ? "" : `${module}: `}${oneLine(message)}`;
  return `${head}${pairs.length === 0 ? "" : `: ${pairs.join(" ")}`}\n`;
}

function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const short = text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text;
  return /^[^\s"=\p{Cc}]+$/u.test(short) || /^[{[]/.test(short) ? short : JSON.stringify(short);
}

/** A line break in a message must not look like a line of its own. */
function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ⏎ ").replace(/\p{Cc}/gu, "?");
}
