/** Clients of a cluster that write and read while it is hurt, and note what they saw. */
import { setTimeout as delay } from "node:timers/promises";
import type { Job, JobListStub } from "@drover/plugin-sdk";
import { Random } from "../../simulation/random.js";
import type { Server } from "../servers.js";
import type { Outcome, Read, Seen, Write } from "./history.js";

/** Registers that all clients fight for. */
const REGISTERS = 3;
const WRITERS_PER_SERVER = 2;
/** Milliseconds for which a client waits. Longer than a server holds a request that finds no leader. */
const PATIENCE = 7_000;
/** Milliseconds between two requests of a client: the rate of the load, and what the final comparison has to look at. */
const PACE = 25;
/** Milliseconds between two writes that are sent whatever became of the ones before: the first that is answered tells a pause. */
const STEADY_PACE = 50;
/** Errors before a request could leave. */
const NOT_SENT = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];
/** Answers that promise that nothing was done. */
const REFUSALS = [/^No cluster leader$/, /^Enforcing job modify index/];

/** Begins the ids of what clients write: jobs that nothing has to be placed for. */
const PREFIX = "proof-";

const ABSENT: Seen = { value: 0, id: "", index: 0 };

interface Answer {
  /** Undefined where none came. */
  readonly status: number | undefined;
  readonly text: string;
  readonly notSent: boolean;
}

export class Clients {
  readonly writes: Write[] = [];
  readonly reads: Read[] = [];
  readonly #random: Random;
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #next = 0;

  constructor(
    private readonly servers: readonly Server[],
    seed: number,
  ) {
    this.#random = new Random(seed);
  }

  /** Two writers and a reader at every server, each with one request at a time; and steady writes to all servers in turn. */
  start(): void {
    const loops = this.servers.flatMap((server) => [
      this.#repeat(() => this.#read(server, this.#register())),
      ...Array.from({ length: WRITERS_PER_SERVER }, () => this.#repeat(() => this.#write(server))),
    ]);
    this.#running = Promise.all([...loops, this.#writeSteadily()]);
  }

  /** When the requests under way are over. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Writes that began after `since` and were acknowledged, in the order of their ends. */
  acknowledged(since: number): Write[] {
    const found: Write[] = [];
    for (let at = this.writes.length - 1; at >= 0 && this.writes[at]!.end >= since; at--) {
      const write = this.writes[at]!;
      if (write.outcome === "acknowledged" && write.start >= since) found.unshift(write);
    }
    return found;
  }

  /** Everything that clients wrote, as `server` has it by itself. */
  async contents(server: Server): Promise<Map<string, Seen>> {
    const { status, text } = await ask(server, "GET", `jobs?stale&prefix=${PREFIX}`);
    if (status !== 200) throw new Unanswered(`${server.name}: ${status} ${text}`);
    return new Map((JSON.parse(text) as JobListStub[]).map((stub) => [stub.ID, seen(stub)]));
  }

  async #repeat(request: () => Promise<unknown>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await request();
      await delay(PACE);
    }
  }

  async #writeSteadily(): Promise<void> {
    const underWay = new Set<Promise<void>>();
    for (let at = 0; !this.#stop.signal.aborted; at++) {
      const write = this.#put(this.servers[at % this.servers.length]!, this.#newKey(), ABSENT);
      underWay.add(write);
      void write.finally(() => underWay.delete(write));
      await delay(STEADY_PACE);
    }
    await Promise.all(underWay);
  }

  #newKey(): string {
    return `${PREFIX}${this.#next++}`;
  }

  #register(): string {
    return `${PREFIX}register-${this.#random.integer(REGISTERS)}`;
  }

  /** A key of its own that nobody else writes, or the next value of a register. */
  async #write(server: Server): Promise<void> {
    if (this.#random.chance(0.5)) {
      await this.#put(server, this.#newKey(), ABSENT);
      return;
    }
    const key = this.#register();
    const read = await this.#read(server, key);
    if (read !== undefined) await this.#put(server, key, read);
  }

  /** Writes the value after `before`, where that is still there. */
  async #put(server: Server, key: string, before: Seen): Promise<void> {
    const value = before.value + 1;
    const id = `${server.name}-${this.#next++}`;
    const body = { Job: job(key, value, id), EnforceIndex: true, JobModifyIndex: before.index };
    const start = performance.now();
    const answer = await ask(server, "POST", "jobs", body);
    const end = performance.now();
    const { status, text } = answer;
    this.writes.push({
      ...{ key, value, id, server: server.name, start, end },
      outcome: outcome(answer),
      answer: `${status ?? "no answer"} ${status === 200 ? "" : text}`.trim(),
    });
  }

  async #read(server: Server, key: string): Promise<Seen | undefined> {
    const start = performance.now();
    const { status, text } = await ask(server, "GET", `job/${key}?consistent`);
    if (status !== 200 && status !== 404) return undefined;
    const found = status === 200 ? seen(JSON.parse(text) as Job) : ABSENT;
    this.reads.push({ ...found, key, server: server.name, start, end: performance.now() });
    return found;
  }
}

class Unanswered extends Error {}

/** A template that is never dispatched: a row in the state, and no evaluation. */
function job(key: string, value: number, id: string): object {
  return {
    ID: key,
    // What lists show too.
    Name: `${value}:${id}`,
    Type: "batch",
    Datacenters: ["dc1"],
    ParameterizedJob: {},
    TaskGroups: [{ Name: "g", Tasks: [{ Name: "t", Driver: "raw_exec", Config: { command: "/bin/true" } }] }],
  };
}

function seen({ Name, JobModifyIndex }: Pick<Job, "Name" | "JobModifyIndex">): Seen {
  const [value, id = ""] = Name.split(":");
  return { value: Number(value), id, index: JobModifyIndex };
}

async function ask(server: Server, method: string, path: string, body?: object): Promise<Answer> {
  try {
    const answer = await fetch(`${server.address}/v1/${path}`, {
      method,
      signal: AbortSignal.timeout(PATIENCE),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.status, text: await answer.text(), notSent: false };
  } catch (error) {
    const { name, cause } = error as Error;
    if (!(error instanceof TypeError) && name !== "TimeoutError") throw error;
    const { code = "" } = (cause ?? {}) as { code?: string };
    return { status: undefined, text: `${String(error)} ${code}`, notSent: NOT_SENT.includes(code) };
  }
}

function outcome({ status, text, notSent }: Answer): Outcome {
  if (status === 200) return "acknowledged";
  const refused = notSent || status === 429 || REFUSALS.some((pattern) => pattern.test(text));
  return refused ? "refused" : "unknown";
}
