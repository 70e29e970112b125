import { after } from "./machine.js";

/** One operation on one key, as a client saw it. */
export interface Operation {
  readonly key: string;
  readonly kind: "append" | "write" | "read";
  /** What was written; for a read what was seen. */
  readonly value: string;
  /** Positions in the order of all calls and returns; `Infinity` while nobody knows whether it happened. */
  readonly called: number;
  readonly returned: number;
}

export type Verdict =
  | { readonly linearizable: true; readonly states: number }
  | { readonly linearizable: false; readonly key: string; readonly history: readonly Operation[] };

/** Configurations visited before the check gives up on a key: so concurrent a history is a mistake of the test. */
const MAX_STATES = 2_000_000;

/**
 * Whether a history is linearizable, key by key (the property is local: Herlihy and Wing 1990): the search of Wing and Gong
 * (1993) with Lowe's memory of configurations seen (2017). Throws when a key takes more than two million configurations.
 */
export function checkLinearizable(history: readonly Operation[]): Verdict {
  const keys = new Map<string, Operation[]>();
  for (const operation of history) {
    const list = keys.get(operation.key);
    if (list === undefined) keys.set(operation.key, [operation]);
    else list.push(operation);
  }
  let states = 0;
  for (const [key, operations] of keys) {
    const observable = withoutUnobserved(operations);
    const visited = search(key, observable);
    if (visited === null) return { linearizable: false, key, history: observable };
    states += visited;
  }
  return { linearizable: true, states };
}

/** An operation of unknown outcome that no read saw can have happened after everything else: it explains nothing. */
function withoutUnobserved(operations: readonly Operation[]): Operation[] {
  const seen = new Set<string>();
  for (const { kind, value } of operations) {
    if (kind === "read") for (const one of value.split(",")) seen.add(one);
  }
  return operations.filter(
    ({ kind, value, returned }) =>
      returned !== Number.POSITIVE_INFINITY || (kind !== "read" && seen.has(value)),
  );
}

/** A call or a return in a doubly linked list, from which linearized operations are lifted. */
interface Node {
  readonly operation: number;
  /** The return that belongs to a call; null for a return. */
  readonly match: Node | null;
  previous: Node | null;
  next: Node | null;
}

/** Gives the number of configurations visited, or null when there is no linearization. */
function search(key: string, operations: readonly Operation[]): number | null {
  const head = link(operations);
  const done = new Uint8Array(operations.length);
  const seen = new Set<string>();
  const taken: { readonly call: Node; readonly state: string }[] = [];
  let state = "";
  let node = head.next;
  while (head.next !== null) {
    if (node !== null && node.match !== null) {
      const next = step(state, operations[node.operation]!);
      if (next !== null) {
        done[node.operation] = 1;
        const configuration = `${done.join("")}|${next}`;
        if (!seen.has(configuration)) {
          if (seen.size >= MAX_STATES)
            throw new Error(`the history of key ${key} is too concurrent to be checked`);
          seen.add(configuration);
          taken.push({ call: node, state });
          state = next;
          lift(node);
          node = head.next;
          continue;
        }
        done[node.operation] = 0;
      }
      node = node.next;
      continue;
    }
    // Only operations are left that nobody has an answer to: they need not have happened.
    if (node === null || operations[node.operation]!.returned === Number.POSITIVE_INFINITY) return seen.size;
    // A return whose call is not linearized yet: the last choice was wrong.
    const last = taken.pop();
    if (last === undefined) return null;
    state = last.state;
    done[last.call.operation] = 0;
    unlift(last.call);
    node = last.call.next;
  }
  return seen.size;
}

/** What a key holds afterwards; null when a read could not have seen this. */
function step(state: string, { kind, value }: Operation): string | null {
  if (kind === "read") return state === value ? state : null;
  return after(state, { kind, value });
}

function link(operations: readonly Operation[]): Node {
  const events: { readonly at: number; readonly node: Node }[] = [];
  operations.forEach((operation, position) => {
    const back: Node = { operation: position, match: null, previous: null, next: null };
    events.push({ at: operation.returned, node: back });
    events.push({
      at: operation.called,
      node: { operation: position, match: back, previous: null, next: null },
    });
  });
  // Stable, and calls never tie with anything: only returns that never came do.
  events.sort((a, b) => (a.at === b.at ? 0 : a.at - b.at));
  const head: Node = { operation: -1, match: null, previous: null, next: null };
  let last = head;
  for (const { node } of events) {
    last.next = node;
    node.previous = last;
    last = node;
  }
  return head;
}

function lift(call: Node): void {
  for (const node of [call, call.match!]) {
    node.previous!.next = node.next;
    if (node.next !== null) node.next.previous = node.previous;
  }
}

function unlift(call: Node): void {
  for (const node of [call.match!, call]) {
    node.previous!.next = node;
    if (node.next !== null) node.next.previous = node;
  }
}
