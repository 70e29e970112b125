/**
 * Writing side of the node columns: the main thread keeps them in step with the committed rows of nodes and
 * allocations.
 */
import {
  type Allocation,
  allocIsTerminal,
  type ColumnBuffers,
  type Logger,
  type Node,
  NodeEligibility,
  NodeStatus,
  NodeStatusBit,
} from "@drover/plugin-sdk";
import {
  allocationUse,
  nodeCapacity,
  nodeFacts,
  type ResourceUse,
  sumUse,
} from "@drover/plugin-sdk/scheduling";
import {
  allocateColumnBuffers,
  CODE_STRIDE,
  columnBuffer,
  Header,
  JOURNAL_RECORD_WORDS,
  JournalKind,
  MAX_COLUMNS,
  MAX_JOURNAL,
  MAX_ROWS,
  NUMBER_COLUMNS,
  type NumberColumn,
} from "./read/column-memory.js";
import { encodeId, UUID_BYTES } from "./read/keys.js";
import type { PlanBlock } from "./read/plan-block.js";
import { UuidRows } from "./read/uuid-rows.js";

/** Marks in a table of rows by node: not looked up yet; none, or counted already. */
const UNKNOWN = -2;
const NO_ROW = -1;

const WORD = Uint32Array.BYTES_PER_ELEMENT;
/** Rows are added in steps of this many. */
const ROW_STEP = 1_024;
const JOURNAL_STEP = 1 << 18;
/** The journal is rewritten when it is this long and less than half of it still holds. */
const JOURNAL_SLACK = 1 << 20;

interface Column {
  readonly number: number;
  readonly codes: Map<string, number>;
  /** Nodes by code, and what the code means. */
  readonly uses: number[];
  readonly values: (string | undefined)[];
  /** Codes that may be given again. */
  free: number[];
  /** Codes that nothing has any more, to be given again after the next rewrite: readers may still hold their meaning. */
  retired: number[];
  codesOfRows: Uint32Array;
}

/** What changed since the columns were last written. */
export interface ColumnChanges {
  readonly nodes: ReadonlyMap<string, Node | null>;
  readonly usage: readonly { readonly before: Allocation | null; readonly after: Allocation | null }[];
  /** New allocations of plans, by their position in the plan's block. */
  readonly placed: readonly { readonly block: PlanBlock; readonly positions: readonly number[] }[];
}

/** What a node has, what is taken of it, and its status, by its row: as far as counting goes. */
export interface NodeUsage {
  row(nodeId: string): number | undefined;
  /** `NodeStatusBit` flags. */
  readonly status: Uint8Array;
  /** MHz and MiB, by row. */
  readonly numbers: Readonly<Record<NumberColumn, Float64Array>>;
}

const NO_NODES: ReadonlySet<string> = new Set();

export class NodeColumnsWriter implements NodeUsage {
  readonly buffers: ColumnBuffers = allocateColumnBuffers();
  private readonly header = new Int32Array(columnBuffer(this.buffers, "header"));
  /**
   * This thread's own numbers, by which plans are checked; the threads get copies. Code from elsewhere runs there, and what
   * it may write into shared memory must not decide here.
   */
  status = new Uint8Array(0);
  readonly numbers = Object.fromEntries(NUMBER_COLUMNS.map((name) => [name, new Float64Array(0)])) as Record<
    NumberColumn,
    Float64Array
  >;
  private sharedStatus: Uint8Array = new Uint8Array(columnBuffer(this.buffers, "status"));
  private readonly sharedNumbers = Object.fromEntries(
    NUMBER_COLUMNS.map((name) => [name, new Float64Array(columnBuffer(this.buffers, name))]),
  ) as Record<NumberColumn, Float64Array>;
  /** Rows that the threads' copies don't show yet. */
  private readonly unpublished = new Set<number>();
  private readonly rows = new Map<string, number>();
  /** The same by the bytes of the id, of those that are UUIDs. */
  private readonly uuids = new UuidRows();
  private readonly freeRows: number[] = [];
  private capacity = 0;
  private length = 0;
  private readonly columns = new Map<string, Column>();
  /** Columns and codes of each row. */
  private readonly attributes: [column: Column, code: number][][] = [];
  private journalLength = 0;
  /** Bytes of the journal that a rewrite would keep. */
  private journalLive = 0;
  private readonly refused = new Set<string>();

  constructor(private readonly log?: Logger) {}

  row(nodeId: string): number | undefined {
    return this.rows.get(nodeId);
  }

  /** Starts afresh from all nodes, the live allocations in blocks, and all other allocations. */
  rebuild(
    nodes: Iterable<Node>,
    placed: Iterable<ColumnChanges["placed"][number]>,
    allocations: Iterable<Allocation>,
  ): void {
    for (const id of [...this.rows.keys()]) this.remove(id);
    for (const node of nodes) this.upsert(node, () => []);
    // One pass over the allocations is faster than looking them up node by node.
    for (const { block, positions } of placed) this.addPlaced(block, positions, NO_NODES);
    for (const allocation of allocations) if (!allocIsTerminal(allocation)) this.addUsage(allocation, 1);
    this.publish(true);
  }

  apply(changes: ColumnChanges, allocationsOf: (nodeId: string) => readonly Allocation[]): void {
    if (changes.nodes.size === 0 && changes.usage.length === 0 && changes.placed.length === 0) return;
    const recounted = new Set<string>();
    for (const [id, node] of changes.nodes) {
      if (node === null) this.remove(id);
      else if (this.upsert(node, allocationsOf)) recounted.add(id);
    }
    for (const { before, after } of changes.usage) {
      if (before !== null && !recounted.has(before.NodeID)) this.addUsage(before, -1);
      if (after !== null && !recounted.has(after.NodeID)) this.addUsage(after, 1);
    }
    for (const { block, positions } of changes.placed) this.addPlaced(block, positions, recounted);
    this.publish(changes.nodes.size > 0);
  }

  private publish(nodesChanged: boolean): void {
    for (const row of this.unpublished) {
      for (const name of NUMBER_COLUMNS) this.sharedNumbers[name][row] = this.numbers[name][row]!;
      this.sharedStatus[row] = this.status[row]!;
    }
    this.unpublished.clear();
    if (this.journalLength > JOURNAL_SLACK && this.journalLive * 2 < this.journalLength)
      this.rewriteJournal();
    Atomics.add(this.header, Header.Version, 1);
    if (nodesChanged) Atomics.add(this.header, Header.NodesVersion, 1);
  }

  /** Writes a node's row; true when it is new and its usage was counted from its allocations. */
  private upsert(node: Node, allocationsOf: (nodeId: string) => readonly Allocation[]): boolean {
    const known = this.rows.get(node.ID);
    const row = known ?? this.addRow(node.ID);
    if (row === undefined) return false;
    const total = nodeCapacity(node);
    this.numbers.cpuTotal[row] = total.cpu;
    this.numbers.memoryTotal[row] = total.memory;
    this.numbers.diskTotal[row] = total.disk;
    this.writeAttributes(row, node);
    if (known === undefined) this.setUsage(row, sumUse(allocationsOf(node.ID)));
    this.status[row] = statusBits(node);
    this.unpublished.add(row);
    return known === undefined;
  }

  private setUsage(row: number, use: ResourceUse): void {
    this.numbers.cpuUsed[row] = use.cpu;
    this.numbers.memoryUsed[row] = use.memory;
    this.numbers.diskUsed[row] = use.disk;
  }

  /** A node that left keeps its allocations; they are counted when it comes back. */
  private addUsage(allocation: Allocation, sign: 1 | -1): void {
    const row = this.rows.get(allocation.NodeID);
    if (row === undefined) return;
    this.unpublished.add(row);
    const use = allocationUse(allocation.AllocatedResources);
    const { cpuUsed, memoryUsed, diskUsed } = this.numbers;
    cpuUsed[row] = (cpuUsed[row] as number) + sign * use.cpu;
    memoryUsed[row] = (memoryUsed[row] as number) + sign * use.memory;
    diskUsed[row] = (diskUsed[row] as number) + sign * use.disk;
  }

  /** Adds the use of a plan's placements; each node and each kind of resources is looked up once. */
  private addPlaced(block: PlanBlock, positions: readonly number[], recounted: ReadonlySet<string>): void {
    const rows = new Int32Array(block.nodeCount).fill(UNKNOWN);
    const uses: ResourceUse[] = [];
    const { cpuUsed, memoryUsed, diskUsed } = this.numbers;
    for (const at of positions) {
      const node = block.node(at);
      let row = rows[node]!;
      if (row === UNKNOWN) {
        row = this.rowIn(block, node, recounted);
        rows[node] = row;
        if (row !== NO_ROW) this.unpublished.add(row);
      }
      if (row === NO_ROW) continue;
      const kind = block.resource(at);
      uses[kind] ??= allocationUse(block.resources[kind]!);
      const use = uses[kind];
      cpuUsed[row] = cpuUsed[row]! + use.cpu;
      memoryUsed[row] = memoryUsed[row]! + use.memory;
      diskUsed[row] = diskUsed[row]! + use.disk;
    }
  }

  /** Row of a block's node, or `NO_ROW`. Where a whole state is counted, ids are not made text one by one. */
  private rowIn(block: PlanBlock, node: number, recounted: ReadonlySet<string>): number {
    const bytes = block.nodeIdBytes(node);
    if (recounted.size === 0 && bytes.length === UUID_BYTES) return this.uuids.get(bytes) ?? NO_ROW;
    const id = block.nodeId(node);
    return recounted.has(id) ? NO_ROW : (this.rows.get(id) ?? NO_ROW);
  }

  private addRow(id: string): number | undefined {
    const row = this.freeRows.pop() ?? this.length;
    if (row >= MAX_ROWS) {
      this.refuse("node", `the scheduler's columns hold ${MAX_ROWS} nodes; node ${id} gets no allocations`);
      return undefined;
    }
    if (row >= this.capacity) this.grow(Math.min(this.capacity + ROW_STEP, MAX_ROWS));
    this.rows.set(id, row);
    const bytes = encodeId(id);
    if (bytes.length === UUID_BYTES) this.uuids.set(bytes, row);
    this.attributes[row] = [];
    this.append(JournalKind.Node, row, 0, id);
    if (row >= this.length) {
      this.length = row + 1;
      Atomics.store(this.header, Header.Rows, this.length);
    }
    return row;
  }

  private remove(id: string): void {
    const row = this.rows.get(id);
    if (row === undefined) return;
    this.status[row] = 0;
    for (const name of NUMBER_COLUMNS) this.numbers[name][row] = 0;
    this.unpublished.add(row);
    for (const [column, code] of this.attributes[row] ?? []) {
      column.codesOfRows[row] = 0;
      this.release(column, code);
    }
    this.attributes[row] = [];
    this.rows.delete(id);
    const bytes = encodeId(id);
    if (bytes.length === UUID_BYTES) this.uuids.delete(bytes);
    this.freeRows.push(row);
    this.journalLive -= recordSize(id);
    this.append(JournalKind.Gone, row, 0, "");
  }

  private grow(rows: number): void {
    this.capacity = rows;
    const status = new Uint8Array(rows);
    status.set(this.status);
    this.status = status;
    this.sharedStatus = view(this.buffers, "status", Uint8Array, rows);
    for (const name of NUMBER_COLUMNS) {
      const numbers = new Float64Array(rows);
      numbers.set(this.numbers[name]);
      this.numbers[name] = numbers;
      this.sharedNumbers[name] = view(this.buffers, name, Float64Array, rows);
    }
    for (const column of this.columns.values()) column.codesOfRows = this.codesView(column.number);
  }

  private codesView(column: number): Uint32Array {
    const buffer = columnBuffer(this.buffers, "codes");
    const end = column * CODE_STRIDE + this.capacity * WORD;
    if (buffer.byteLength < end) buffer.grow(end);
    return new Uint32Array(buffer, column * CODE_STRIDE, this.capacity);
  }

  private writeAttributes(row: number, node: Node): void {
    const next: [Column, number][] = [];
    for (const [key, value] of attributesOf(node)) {
      const column = this.columns.get(key) ?? this.addColumn(key);
      if (column === undefined) continue;
      next.push([column, this.take(column, value)]);
    }
    // The new codes are taken before the old ones are let go, so that an unchanged value keeps its code.
    const previous = this.attributes[row] ?? [];
    const kept = new Set(next.map(([column]) => column));
    for (const [column, code] of next) column.codesOfRows[row] = code;
    for (const [column, code] of previous) {
      if (!kept.has(column)) column.codesOfRows[row] = 0;
      this.release(column, code);
    }
    this.attributes[row] = next;
  }

  private addColumn(key: string): Column | undefined {
    const number = this.columns.size;
    if (number >= MAX_COLUMNS) {
      this.refuse(
        "attribute",
        `the scheduler's columns hold ${MAX_COLUMNS} attributes; "${key}" is not seen by constraints`,
      );
      return undefined;
    }
    const column: Column = {
      number,
      codes: new Map(),
      uses: [0],
      values: [undefined],
      free: [],
      retired: [],
      codesOfRows: this.codesView(number),
    };
    this.columns.set(key, column);
    this.append(JournalKind.Column, number, 0, key);
    return column;
  }

  private take(column: Column, value: string): number {
    let code = column.codes.get(value);
    if (code === undefined) {
      code = column.free.pop() ?? column.values.length;
      column.codes.set(value, code);
      column.values[code] = value;
      column.uses[code] = 0;
      this.append(JournalKind.Value, column.number, code, value);
    }
    column.uses[code] = (column.uses[code] as number) + 1;
    return code;
  }

  private release(column: Column, code: number): void {
    const left = (column.uses[code] as number) - 1;
    column.uses[code] = left;
    if (left > 0) return;
    const value = column.values[code] as string;
    column.codes.delete(value);
    column.values[code] = undefined;
    column.retired.push(code);
    this.journalLive -= recordSize(value);
  }

  private append(kind: number, a: number, b: number, text: string): void {
    const size = recordSize(text);
    const buffer = columnBuffer(this.buffers, "journal");
    const end = this.journalLength + size;
    if (end > MAX_JOURNAL)
      throw new Error(`the scheduler's columns need more than ${MAX_JOURNAL} bytes of attribute values`);
    if (buffer.byteLength < end)
      buffer.grow(Math.min(MAX_JOURNAL, Math.max(end, buffer.byteLength + JOURNAL_STEP)));
    const record = Buffer.alloc(size);
    const bytes = record.write(text, JOURNAL_RECORD_WORDS * WORD);
    for (const [i, word] of [kind, a, b, bytes].entries()) record.writeUInt32LE(word, i * WORD);
    new Uint8Array(buffer, this.journalLength, size).set(record);
    this.journalLength = end;
    if (kind !== JournalKind.Gone) this.journalLive += size;
    Atomics.store(this.header, Header.Journal, end);
  }

  /** Writes only what still holds; readers that see an odd or another generation start over. */
  private rewriteJournal(): void {
    Atomics.add(this.header, Header.Generation, 1);
    this.journalLength = 0;
    this.journalLive = 0;
    Atomics.store(this.header, Header.Journal, 0);
    for (const [key, column] of this.columns) {
      this.append(JournalKind.Column, column.number, 0, key);
      column.free = [...column.free, ...column.retired];
      column.retired = [];
      for (const [value, code] of column.codes) this.append(JournalKind.Value, column.number, code, value);
    }
    for (const [id, row] of this.rows) this.append(JournalKind.Node, row, 0, id);
    Atomics.add(this.header, Header.Generation, 1);
  }

  private refuse(what: string, message: string): void {
    if (this.refused.has(what)) return;
    this.refused.add(what);
    this.log?.error({}, message);
  }
}

function recordSize(text: string): number {
  return (JOURNAL_RECORD_WORDS + Math.ceil(Buffer.byteLength(text) / WORD)) * WORD;
}

function view<T>(
  buffers: ColumnBuffers,
  name: string,
  type: {
    readonly BYTES_PER_ELEMENT: number;
    new (buffer: SharedArrayBuffer, offset: number, length: number): T;
  },
  length: number,
): T {
  const buffer = columnBuffer(buffers, name);
  if (buffer.byteLength < length * type.BYTES_PER_ELEMENT) buffer.grow(length * type.BYTES_PER_ELEMENT);
  return new type(buffer, 0, length);
}

function statusBits(node: Node): number {
  return (
    NodeStatusBit.InUse |
    (node.Status === NodeStatus.Ready ? NodeStatusBit.Ready : 0) |
    (node.SchedulingEligibility === NodeEligibility.Eligible ? NodeStatusBit.Eligible : 0) |
    (node.DrainStrategy !== null ? NodeStatusBit.Draining : 0)
  );
}

/** Columns of a node: attributes as interpolation names them, and facts that only placement asks for. */
function* attributesOf(node: Node): Generator<readonly [key: string, value: string]> {
  yield ["node.datacenter", node.Datacenter];
  yield ["node.class", node.NodeClass];
  yield ["node.computed_class", node.ComputedClass];
  yield ["node.unique.id", node.ID];
  yield ["node.unique.name", node.Name];
  for (const [key, value] of Object.entries(node.Attributes)) yield [`attr.${key}`, value];
  for (const [key, value] of Object.entries(node.Meta ?? {})) yield [`meta.${key}`, value];
  yield* nodeFacts(node);
}
