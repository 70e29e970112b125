/** Runs commands in this process against an HTTP server with prepared answers. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Command } from "commander";
import { normalizeArgv } from "../../../core/cli/argv.js";
import { registerCommands } from "../../../core/cli/commands/index.js";
import { ExitError } from "../../../core/cli/exit.js";
import { attachIo, type CommandIo } from "../../../core/cli/io.js";

export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON, unless it is text or bytes. */
  readonly body?: unknown;
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

export type Answerer = (asked: Asked, response: ServerResponse) => Reply | undefined;

/** An agent that answers as told; `undefined` leaves the response to the answerer, or is 404 where it did nothing. */
export class FakeAgent implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly #server;
  #answer: Answerer;

  private constructor(answer: Answerer) {
    this.#answer = answer;
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  static async start(answer: Answerer | Readonly<Record<string, Reply>>): Promise<FakeAgent> {
    const agent = new FakeAgent(typeof answer === "function" ? answer : byPath(answer));
    await new Promise<void>((resolve) => agent.#server.listen(0, "127.0.0.1", resolve));
    return agent;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  run(...argv: string[]): Promise<Result> {
    return runCommand(argv, { NOMAD_ADDR: this.address });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? "", "http://x");
    const text = Buffer.concat(chunks).toString();
    const asked: Asked = {
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? undefined : JSON.parse(text),
    };
    this.asked.push(asked);
    const reply = this.#answer(asked, response);
    if (reply === undefined) {
      if (!response.headersSent) response.writeHead(404).end();
      return;
    }
    const { status = 200, headers, body } = reply;
    response.writeHead(status, { ...headers });
    response.end(typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Replies by `METHOD path`; a key with a query is taken before one without. */
function byPath(replies: Readonly<Record<string, Reply>>): Answerer {
  return ({ method, path, query }) => replies[`${method} ${path}?${query}`] ?? replies[`${method} ${path}`];
}

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The moment at which the recordings of the command line were made. */
export const RECORDED_AT = Date.parse("2026-11-23T14:49:52.800Z");

export async function runCommand(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  more: Partial<CommandIo> = {},
): Promise<Result> {
  let out = "";
  let err = "";
  const toOut = (text: string) => {
    out += text;
  };
  const toErr = (text: string) => {
    err += text;
  };
  const program = new Command("drover").exitOverride().enablePositionalOptions();
  program.configureOutput({ writeOut: toOut, writeErr: toErr });
  const io: CommandIo = {
    out: (text) => toOut(`${text}\n`),
    err: (text) => toErr(`${text}\n`),
    progress: () => undefined,
    write: async (bytes) => toOut(Buffer.from(bytes).toString()),
    readInput: async () => "",
    env,
    interactive: false,
    color: false,
    now: () => RECORDED_AT,
    signal: new AbortController().signal,
    ...more,
  };
  attachIo(program, io);
  registerCommands(program);
  inherit(program, program);
  const booleans = new Set(
    commandsOf(program).flatMap((command) =>
      command.options.filter((o) => o.isBoolean() || o.negate).map((o) => o.name()),
    ),
  );
  try {
    await program.parseAsync(
      normalizeArgv(argv, (flag) => booleans.has(flag)),
      { from: "user" },
    );
    return { code: 0, out, err };
  } catch (error) {
    if (error instanceof ExitError)
      return { code: error.code, out, err: err + (error.message === "" ? "" : `${error.message}\n`) };
    const exit = (error as { exitCode?: unknown }).exitCode;
    if (typeof exit === "number") return { code: exit, out, err };
    throw error;
  }
}

function commandsOf(command: Command): Command[] {
  return [command, ...command.commands.flatMap((inner) => commandsOf(inner as Command))];
}

/** Subcommands that exist already take over where a program writes and how it exits. */
function inherit(command: Command, from: Command): void {
  for (const inner of command.commands) {
    (inner as Command).copyInheritedSettings(from);
    inherit(inner as Command, from);
  }
}
