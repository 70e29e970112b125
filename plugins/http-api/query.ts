/**
 * Queries of the replicated state: consistency modes and blocking (`index`, `wait`), as
 * https://developer.hashicorp.com/nomad/api-docs#blocking-queries describes them.
 */
import { HttpError, type StateReader, type StateSnapshot, type StateTable } from "@drover/plugin-sdk";
import type { Answer, Body } from "./answer.js";
import { type ApiRequest, blockingOf } from "./request.js";
import { endpointsOf, type Services, stateOf } from "./services.js";

/** What one look at the state gave. */
export interface Reading {
  /** Index of what was read: the object's ModifyIndex, or that of its table for lists and for what does not exist. */
  readonly index: number;
  /** The answer's JSON; with `rows` a list that is read from the snapshot while it is sent. */
  readonly value?: unknown;
  readonly rows?: Iterable<unknown>;
  /** Set where the object does not exist: text of the 404. */
  readonly missing?: string;
}

/**
 * Answers a query: reads, and with `?index=N` reads again at every change of `tables` until the reading's index is above
 * N or the wait is over. Throws HttpError 429 where too many wait. `?stale` takes this server's state as it is; by default a
 * follower catches up with the leader first, and `?consistent` has the leader confirm its leadership too (500 `No cluster
 * leader` where there is none).
 */
export async function query(
  services: Services,
  request: ApiRequest,
  tables: readonly StateTable[],
  read: (snapshot: StateSnapshot) => Reading,
): Promise<Answer> {
  const state = stateOf(services);
  const blocking = blockingOf(request);
  if (!request.stale) await endpointsOf(services).status.catchUp(request.consistent);
  let [snapshot, reading] = look(state, read);
  if (blocking.index === 0 || reading.index > blocking.index) return answer(services, snapshot, reading);

  let seen = snapshot.index;
  snapshot.close();
  using _place = services.watches.enter();
  using wait = waitOf(blocking.wait, request.signal);
  for (;;) {
    await changed(state, tables, seen, wait.signal);
    [snapshot, reading] = look(state, read);
    if (reading.index > blocking.index || wait.signal.aborted) return answer(services, snapshot, reading);
    seen = snapshot.index;
    snapshot.close();
  }
}

/** A signal that aborts when the wait is over or the client went away. */
function waitOf(nanoseconds: number, client: AbortSignal): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  // Some jitter keeps a thousand clients that asked together from asking together again.
  const timer = setTimeout(abort, Math.ceil((nanoseconds + (Math.random() * nanoseconds) / 16) / 1e6));
  client.addEventListener("abort", abort, { once: true });
  if (client.aborted) abort();
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      client.removeEventListener("abort", abort);
    },
  };
}

/** Waits for a change of the tables; returns too when the signal aborts. */
async function changed(
  state: StateReader,
  tables: readonly StateTable[],
  index: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await state.waitForChange(tables, index, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function look(
  state: StateReader,
  read: (snapshot: StateSnapshot) => Reading,
): [snapshot: StateSnapshot, reading: Reading] {
  const snapshot = state.snapshot();
  try {
    return [snapshot, read(snapshot)];
  } catch (error) {
    snapshot.close();
    throw error;
  }
}

function answer(services: Services, snapshot: StateSnapshot, reading: Reading): Answer {
  const headers = queryHeaders(services, reading.index);
  if (reading.rows !== undefined) {
    let open = true;
    const close = () => {
      if (open) snapshot.close();
      open = false;
    };
    return { headers, body: { kind: "rows", rows: reading.rows, close } };
  }
  snapshot.close();
  if (reading.missing !== undefined) throw new HttpError(404, reading.missing, headers);
  const body: Body = { kind: "json", value: reading.value };
  return { headers, body };
}

/** Milliseconds in which Go measures the time since something that never was. */
const NEVER = 9_223_372_036_854;

/** The index is at least 1: with `index=0` in return a client would never block, and ask in a loop. */
export function queryHeaders(services: Services, index: number): Record<string, string> {
  return {
    "X-Nomad-Index": String(Math.max(1, index)),
    "X-Nomad-KnownLeader": String(knownLeader(services)),
    "X-Nomad-LastContact": String(endpointsOf(services).status.lastContact() ?? NEVER),
  };
}

export function knownLeader(services: Services): boolean {
  return endpointsOf(services).status.leader() !== "";
}
