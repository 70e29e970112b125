/**
 * What clients of a cluster saw, and what of it can't be: the judge of the proofs with real processes.
 *
 * A key is a register that only compare-and-set writes: the write of value n succeeds where n - 1 is there. So a later state of a
 * key has the higher value, and a write of which nobody knows what became of it can't come into force behind a later one. All
 * times are milliseconds of one monotonic clock.
 */

/** `refused`: certainly not carried out. `unknown`: nobody could tell the client. */
export type Outcome = "acknowledged" | "refused" | "unknown";

interface Operation {
  readonly key: string;
  readonly server: string;
  readonly start: number;
  readonly end: number;
}

export interface Write extends Operation {
  /** The value that it makes of the one before. */
  readonly value: number;
  /** Told apart by it from other clients' writes of the same value. */
  readonly id: string;
  readonly outcome: Outcome;
  /** What the client was answered. */
  readonly answer: string;
}

/** The state of a key; value 0 with an empty id where it is not there. */
export interface Seen {
  readonly value: number;
  /** Of the write that made the value. */
  readonly id: string;
  /** Of the log at which the key was written. */
  readonly index: number;
}

/** A consistent read that was answered. */
export interface Read extends Operation, Seen {}

/** A server said that it leads in a term. */
export interface Leading {
  readonly server: string;
  readonly term: number;
}

export interface History {
  readonly writes: readonly Write[];
  readonly reads: readonly Read[];
  readonly leaders: readonly Leading[];
  /** State of every server at the end, when nothing is wrong any more: by server, then by key. */
  readonly final: ReadonlyMap<string, ReadonlyMap<string, Seen>>;
}

/** Everything that must not be in `history`, in words; at most `limit` of each kind. */
export function violations(history: History, limit = 10): string[] {
  const checks = [twoLeaders, lostUpdates, unwritten, staleReads, forks, disorder, finalStates];
  return checks.flatMap((check) => [...first(check(history), limit)]);
}

function* first(from: Iterable<string>, limit: number): Iterable<string> {
  let count = 0;
  for (const line of from) {
    if (count++ === limit) return;
    yield line;
  }
}

function* twoLeaders({ leaders }: History): Iterable<string> {
  const byTerm = new Map<number, string>();
  for (const { server, term } of leaders) {
    const other = byTerm.get(term) ?? server;
    if (other !== server) yield `two leaders in term ${term}: ${other} and ${server}`;
    byTerm.set(term, other);
  }
}

/** Two writes of one value were acknowledged, though each needs the value before to be there. */
function* lostUpdates({ writes }: History): Iterable<string> {
  const acknowledged = new Map<string, Write>();
  for (const write of writes) {
    if (write.outcome !== "acknowledged") continue;
    const name = `${write.key} ${write.value}`;
    const other = acknowledged.get(name);
    if (other !== undefined) yield `lost update: ${told(other)} and ${told(write)}`;
    acknowledged.set(name, write);
  }
}

/** Reads of what nobody wrote, what was refused, or what was written only later. */
function* unwritten({ writes, reads }: History): Iterable<string> {
  const byId = new Map(writes.map((write) => [write.id, write]));
  for (const read of reads) {
    if (read.value === 0) continue;
    const write = byId.get(read.id);
    if (write === undefined || write.key !== read.key || write.value !== read.value) {
      yield `never written: ${told(read)}`;
    } else if (write.outcome === "refused") {
      yield `refused and yet there: ${told(write)}, ${told(read)}`;
    } else if (write.start > read.end) {
      yield `read before it was written: ${told(write)}, ${told(read)}`;
    }
  }
}

/** Reads that began after a newer value was acknowledged or read. */
function* staleReads({ writes, reads }: History): Iterable<string> {
  const known = new Map<string, Newest>();
  const of = (key: string): Newest => {
    const newest = known.get(key) ?? new Newest();
    known.set(key, newest);
    return newest;
  };
  const witnesses = [...writes.filter(({ outcome }) => outcome === "acknowledged"), ...reads];
  for (const witness of witnesses.sort((a, b) => a.end - b.end)) of(witness.key).add(witness);
  for (const read of reads) {
    const newest = of(read.key).before(read.start);
    if (newest !== undefined && newest.value > read.value) yield `stale: ${told(read)} after ${told(newest)}`;
  }
}

/** The newest value that was known at any time. */
class Newest {
  readonly #ends: number[] = [];
  readonly #newest: (Write | Read)[] = [];

  /** In the order of their ends. */
  add(witness: Write | Read): void {
    const last = this.#newest.at(-1);
    if (last !== undefined && last.value >= witness.value) return;
    this.#ends.push(witness.end);
    this.#newest.push(witness);
  }

  /** Of what had ended before `time`. */
  before(time: number): Write | Read | undefined {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]! < time) low = middle + 1;
      else high = middle;
    }
    return this.#newest[low - 1];
  }
}

/** One value of a key was made by two writes, or at two indexes: two histories were served. */
function* forks({ writes, reads, final }: History): Iterable<string> {
  const makers = new Map<string, string>();
  const indexes = new Map<string, number>();
  const name = (key: string, value: number): string => `${key} = ${value}`;
  for (const { outcome, key, value, id } of writes)
    if (outcome === "acknowledged") makers.set(name(key, value), id);
  const seen = [
    ...reads,
    ...[...final].flatMap(([server, keys]) => [...keys].map(([key, state]) => ({ ...state, key, server }))),
  ];
  for (const { key, value, id, index, server } of seen) {
    const what = name(key, value);
    const maker = makers.get(what) ?? id;
    if (maker !== id) yield `two histories: ${what} is of ${maker}, and on ${server} of ${id}`;
    const at = indexes.get(what) ?? index;
    if (value > 0 && at !== index)
      yield `two histories: ${what} is at index ${at}, and on ${server} at ${index}`;
    makers.set(what, maker);
    indexes.set(what, at);
  }
}

/** Values of a key whose order is not that of the log. */
function* disorder({ reads }: History): Iterable<string> {
  const byKey = new Map<string, Map<number, number>>();
  for (const { key, value, index } of reads) {
    const indexes = byKey.get(key) ?? new Map<number, number>();
    byKey.set(key, indexes.set(value, index));
  }
  for (const [key, indexes] of byKey) {
    const ordered = [...indexes].sort(([a], [b]) => a - b);
    for (const [at, [value, index]] of ordered.entries()) {
      const before = ordered[at - 1];
      if (before !== undefined && before[1] >= index)
        yield `out of order: ${key} = ${value} is at index ${index}, ${before[0]} at ${before[1]}`;
    }
  }
}

/** Acknowledged writes that are missing in the end, others that must not be there, and servers that differ. */
function* finalStates({ writes, final }: History): Iterable<string> {
  const byId = new Map(writes.map((write) => [write.id, write]));
  for (const [server, keys] of final) {
    for (const write of writes) {
      if (write.outcome === "acknowledged" && (keys.get(write.key)?.value ?? 0) < write.value)
        yield `lost: ${told(write)} is not on ${server}`;
    }
    for (const [key, { value, id }] of keys) {
      const write = byId.get(id);
      if (write === undefined || write.key !== key || write.value !== value)
        yield `never written: ${key} = ${value} (${id}) on ${server}`;
      else if (write.outcome === "refused") yield `refused and yet there: ${told(write)} on ${server}`;
    }
  }
  const [[name, model] = ["", new Map<string, Seen>()], ...others] = final;
  for (const [other, keys] of others) {
    for (const key of new Set([...model.keys(), ...keys.keys()])) {
      if (model.get(key)?.id !== keys.get(key)?.id)
        yield `servers differ: ${key} is ${model.get(key)?.id} on ${name} and ${keys.get(key)?.id} on ${other}`;
    }
  }
}

function told(operation: Write | Read): string {
  const { key, value, id, server, start, end } = operation;
  const what = "outcome" in operation ? `write (${operation.outcome}: ${operation.answer})` : "read";
  return `${what} of ${key} = ${value} (${id}) on ${server} from ${start.toFixed(1)} to ${end.toFixed(1)} ms`;
}
