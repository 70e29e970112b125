import { type IncomingMessage, request } from "node:http";

const MAX_ANSWER = 16 * 1024 * 1024;

/** The API said no; `message` is its text. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The few calls that `drover dev` makes to the agent of its own process, through HTTP as everybody else. */
export class DevApi {
  constructor(
    private readonly base: string,
    private readonly signal: AbortSignal,
  ) {}

  /** Throws `ApiError` for an answer that is no success, and the connection's error. */
  async json<T>(method: "GET" | "PUT" | "POST", path: string, body?: object): Promise<T> {
    const answer = await this.#send(method, path, body);
    return JSON.parse(await textOf(answer)) as T;
  }

  /** The bytes of an answer as they come. */
  stream(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return this.#send("GET", path, undefined, AbortSignal.any([this.signal, signal]));
  }

  async #send(method: string, path: string, body?: object, signal = this.signal): Promise<IncomingMessage> {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request(`${this.base}${path}`, { method, signal, headers: { "content-type": "application/json" } });
      outgoing.on("response", resolve).on("error", reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    throw new ApiError(status, (await textOf(answer)).trim() || `HTTP ${status}`);
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER) throw new Error(`the answer is larger than ${MAX_ANSWER} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
