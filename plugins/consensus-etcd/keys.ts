/** Digits of an index in a key: enough for any integer that JavaScript counts exactly, so that keys sort as numbers do. */
const DIGITS = 14;
const PART_DIGITS = 4;

/** A range of keys, `end` not in it. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/**
 * Where things are in etcd, below `<prefix>/<region>/`:
 *
 * | key | what |
 * |---|---|
 * | `cluster` | which cluster this is; made once |
 * | `tail` | where the log ends; the fence of every write to it |
 * | `base` | the last entry that is no longer in the log |
 * | `log/<last index>` | a batch of entries, named by its last one |
 * | `parts/<index>/<number>` | pieces of a command that is too large for one request |
 * | `control/leader` | who leads, under that server's lease; its revision is the term |
 * | `control/handover` | whom the leader asks to take over |
 * | `control/servers/<id>` | a server, under its lease |
 */
export class Keys {
  readonly root: KeyRange;
  readonly cluster: string;
  readonly tail: string;
  readonly base: string;
  readonly control: KeyRange;
  readonly leader: string;
  readonly handover: string;
  readonly servers: KeyRange;

  constructor(prefix: string, region: string) {
    const root = `${prefix.replace(/\/+$/, "")}/${encodeURIComponent(region)}/`;
    this.root = below(root);
    this.cluster = `${root}cluster`;
    this.tail = `${root}tail`;
    this.base = `${root}base`;
    this.control = below(`${root}control/`);
    this.leader = `${root}control/leader`;
    this.handover = `${root}control/handover`;
    this.servers = below(`${root}control/servers/`);
  }

  server(id: string): string {
    return `${this.servers.start}${id}`;
  }

  /** The batch that ends with entry `last`. */
  batch(last: number): string {
    return `${this.root.start}log/${digits(last)}`;
  }

  /** Last index of a batch, of its key. */
  lastOf(key: string): number {
    return Number.parseInt(key.slice(-DIGITS), 16);
  }

  /** Every batch that ends at `index` or later: entry `index` is in the first of them. */
  logFrom(index: number): KeyRange {
    return { start: this.batch(index), end: below(`${this.root.start}log/`).end };
  }

  /** Every batch that ends at `index` or before. */
  logUpTo(index: number): KeyRange {
    return { start: this.batch(0), end: this.batch(index + 1) };
  }

  part(index: number, number: number): string {
    return `${this.#parts(index)}${number.toString(16).padStart(PART_DIGITS, "0")}`;
  }

  parts(index: number): KeyRange {
    return below(this.#parts(index));
  }

  partsFrom(index: number): KeyRange {
    return { start: this.#parts(index), end: below(`${this.root.start}parts/`).end };
  }

  partsUpTo(index: number): KeyRange {
    return { start: this.#parts(0), end: this.#parts(index + 1) };
  }

  #parts(index: number): string {
    return `${this.root.start}parts/${digits(index)}/`;
  }
}

function digits(index: number): string {
  return index.toString(16).padStart(DIGITS, "0");
}

/** Everything that begins with `prefix`, which ends with a slash. */
function below(prefix: string): KeyRange {
  return { start: prefix, end: `${prefix.slice(0, -1)}0` };
}
