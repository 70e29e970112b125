/** Recorded exchanges of Nomad 1.1: the specification that the API is compared with. */
import { readFileSync } from "node:fs";

export interface Exchange {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly requestBody: string;
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Undefined where the body is no JSON or the recording was cut. */
  readonly json: unknown;
}

const FOLDER = new URL("../../../../test/plugins/http-api/recordings/", import.meta.url);

export function recordedText(name: string): string {
  return readFileSync(new URL(name, FOLDER), "utf8");
}

/** Exchanges of a file in order. */
export function recorded(file: string): Exchange[] {
  const exchanges: Exchange[] = [];
  for (const part of recordedText(file).split(/\n---\n/)) {
    const request = /^(GET|POST|PUT|DELETE|PATCH) (\S+)\n([\s\S]*?)^=> (\d+)\n/m.exec(part);
    if (request === null) continue;
    const [matched, method, path, requestBody, status] = request as unknown as [
      string,
      string,
      string,
      string,
      string,
    ];
    const answer = part.slice(request.index + matched.length);
    const end = answer.indexOf("\n\n");
    const head = end < 0 ? answer : answer.slice(0, end);
    const body = end < 0 ? "" : answer.slice(end + 2).replace(/\n$/, "");
    const headers: Record<string, string> = {};
    for (const line of head.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 2);
    }
    exchanges.push({
      method,
      path,
      requestBody: requestBody.trim(),
      status: Number(status),
      headers,
      body,
      json: parsed(body),
    });
  }
  return exchanges;
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The `nth` exchange of that request line; throws where there is none. */
export function exchange(file: string, method: string, path: string, nth = 0): Exchange {
  const found = recorded(file).filter((candidate) => candidate.method === method && candidate.path === path)[
    nth
  ];
  if (found === undefined) throw new Error(`${file} has no ${method} ${path}`);
  return found;
}
