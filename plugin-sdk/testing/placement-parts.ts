/** Conformance kits of node filters and scorers: what the placement engine relies on, on cells of every kind. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type CandidateSet,
  type NodeColumns,
  type NodeFilter,
  type NodeScorer,
  NodeStatusBit,
  type PlacementContext,
} from "../contracts/scheduler.js";
import type { Node } from "../domain/node.js";
import { Candidates, createPlan, isPartName, resolveInRow, rowsOf } from "../scheduling/index.js";
import { makeEvaluation, makeGroup, makeJob, makeNode } from "./fixtures.js";
import { MemoryState } from "./memory-state.js";

export interface NodeFilterConformanceOptions {
  readonly create: () => NodeFilter;
  /** Nodes on which it has something to decide: kept and removed ones. */
  readonly nodes: () => readonly Node[];
}

export interface NodeScorerConformanceOptions {
  readonly create: () => NodeScorer;
  /** Nodes that it rates, some differently. */
  readonly nodes: () => readonly Node[];
}

/** Nodes of a large cell: looks at columns must not grow with them. */
const LARGE = 500;
/** Looks at the columns (a property, `codes`, `values`, `nodeId`) that a part may take for a whole candidate set. */
const MAX_LOOKS = 64;

/** A cell for a part: its nodes, a row without a node, and what it asks of the columns counted. */
class Cell {
  readonly context: PlacementContext;
  readonly length: number;
  looks = 0;
  readonly #columns: NodeColumns;

  constructor(nodes: readonly Node[], gaps: readonly number[] = []) {
    const state = new MemoryState();
    for (const node of nodes) state.putNode(node);
    const job = state.putJob(makeJob());
    const evaluation = makeEvaluation(job);
    const whole = state.columns();
    this.length = whole.length;
    this.#columns = gaps.length === 0 ? whole : withGaps(whole, new Set(gaps));
    const columns = new Proxy(this.#columns, {
      get: (target, key) => {
        this.looks++;
        const value: unknown = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    this.context = {
      job,
      group: job.TaskGroups?.[0] ?? makeGroup(),
      columns,
      state,
      plan: createPlan(evaluation, "token", job, state.index),
      evaluation,
      resolve: (target, row) => resolveInRow(target, columns, row),
    };
  }

  all(): Candidates {
    const candidates = new Candidates(this.length);
    const { status } = this.#columns;
    for (let row = 0; row < this.length; row++)
      if ((status[row]! & NodeStatusBit.InUse) !== 0) candidates.add(row);
    return candidates;
  }
}

/** The same columns with rows that no node has: status 0, no id, no attributes. */
function withGaps(columns: NodeColumns, gaps: ReadonlySet<number>): NodeColumns {
  return new Proxy(columns, {
    get(target, key) {
      if (key === "status") return target.status.map((bits, row) => (gaps.has(row) ? 0 : bits));
      if (key === "nodeId") return (row: number) => (gaps.has(row) ? undefined : target.nodeId(row));
      if (key === "codes")
        return (name: string) => target.codes(name).map((code, row) => (gaps.has(row) ? 0 : code));
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Many nodes with the metadata of the few. */
function manyOf(nodes: readonly Node[]): Node[] {
  return Array.from({ length: LARGE }, (_, i) => {
    const { Attributes, Meta, NodeClass, Datacenter } = nodes[i % nodes.length]!;
    return makeNode({ Attributes, Meta, NodeClass, Datacenter });
  });
}

const bare = (): Node[] => Array.from({ length: 3 }, () => makeNode({ Attributes: {}, Meta: {} }));
const rows = (candidates: CandidateSet): number[] => [...rowsOf(candidates)];
const sumOf = (reasons: Readonly<Record<string, number>>): number =>
  Object.values(reasons).reduce((sum, count) => sum + count, 0);

function conformsInName(create: () => { readonly name: string; readonly applies?: string }): void {
  it("has a name that jobs can write, and says when it applies", () => {
    const { name, applies = "always" } = create();
    assert.ok(
      isPartName(name),
      `${JSON.stringify(name)} has other characters than letters, digits, ".", "_" and "-"`,
    );
    assert.ok(["always", "named"].includes(applies), `applies is ${applies}`);
  });
}

/** Tests that a filter must pass. */
export function nodeFilterConformance(name: string, options: NodeFilterConformanceOptions): void {
  const run = (cell: Cell, candidates: Candidates): Readonly<Record<string, number>> =>
    options.create().filter(candidates, cell.context);

  describe(`node filter conformance: ${name}`, () => {
    conformsInName(options.create);

    it("only removes, and gives a reason for each node it removes", () => {
      const cell = new Cell(options.nodes());
      for (const before of [cell.all(), every(cell.all(), 2)]) {
        const after = Candidates.copyOf(before);
        const reasons = run(cell, after);
        for (const row of rows(after)) assert.ok(before.has(row), `row ${row} was added`);
        assert.equal(sumOf(reasons), before.count() - after.count());
        for (const count of Object.values(reasons)) assert.ok(Number.isInteger(count) && count >= 0);
      }
    });

    it("has something to remove and something to keep among the nodes it is tested with", () => {
      const cell = new Cell(options.nodes());
      const after = cell.all();
      const before = after.count();
      run(cell, after);
      assert.ok(after.count() > 0 && after.count() < before, `${after.count()} of ${before} are kept`);
    });

    it("removes nothing more when asked again, and decides alike each time", () => {
      const cell = new Cell(options.nodes());
      const once = cell.all();
      run(cell, once);
      const twice = Candidates.copyOf(once);
      assert.equal(sumOf(run(cell, twice)), 0);
      assert.deepEqual(rows(twice), rows(once));
      const anew = cell.all();
      run(cell, anew);
      assert.deepEqual(rows(anew), rows(once));
    });

    it("decides of a node alike whoever else is a candidate", () => {
      const cell = new Cell(options.nodes());
      const together = cell.all();
      run(cell, together);
      for (const row of rows(cell.all())) {
        const single = new Candidates(cell.length);
        single.add(row);
        run(cell, single);
        assert.equal(single.has(row), together.has(row), `row ${row}`);
      }
    });

    it("takes an empty set, nodes without any attribute and rows without a node", () => {
      const empty = new Candidates(0);
      assert.equal(sumOf(run(new Cell([]), empty)), 0);
      const cell = new Cell(options.nodes(), [0]);
      const none = new Candidates(cell.length);
      assert.equal(sumOf(run(cell, none)), 0);
      assert.equal(none.count(), 0);
      for (const one of [new Cell(bare()), cell]) {
        const candidates = one.all();
        const before = candidates.count();
        assert.equal(sumOf(run(one, candidates)), before - candidates.count());
      }
    });

    it("looks at columns, not at each node by itself", () => {
      const cell = new Cell(manyOf(options.nodes()));
      run(cell, cell.all());
      assert.ok(cell.looks <= MAX_LOOKS, `${cell.looks} looks at the columns for ${LARGE} nodes`);
    });
  });
}

/** Tests that a scorer must pass. */
export function nodeScorerConformance(name: string, options: NodeScorerConformanceOptions): void {
  /** Scores by row; undefined where the scorer has no opinion. Checks what must hold of every call. */
  const run = (cell: Cell, candidates: Candidates): Float64Array | undefined => {
    const scores = new Float64Array(cell.length);
    const before = rows(candidates);
    const counts = options.create().score(candidates, scores, cell.context);
    assert.equal(typeof counts, "boolean");
    assert.deepEqual(rows(candidates), before, "the candidates were changed");
    if (!counts) return undefined;
    for (const row of before) {
      const score = scores[row]!;
      assert.ok(Number.isFinite(score) && score >= -1 && score <= 1, `row ${row} has the score ${score}`);
    }
    return scores;
  };

  describe(`node scorer conformance: ${name}`, () => {
    conformsInName(options.create);

    it("gives finite scores between -1 and 1, and tells the nodes it is tested with apart", () => {
      const cell = new Cell(options.nodes());
      const candidates = cell.all();
      const scores = run(cell, candidates);
      assert.ok(scores !== undefined, "it has no opinion on them");
      assert.ok(new Set(rows(candidates).map((row) => scores[row])).size > 1, "all have the same score");
    });

    it("scores alike each time", () => {
      const cell = new Cell(options.nodes());
      assert.deepEqual(run(cell, cell.all()), run(cell, cell.all()));
    });

    it("takes an empty set, nodes without any attribute and rows without a node", () => {
      run(new Cell([]), new Candidates(0));
      const cell = new Cell(options.nodes(), [0]);
      run(cell, new Candidates(cell.length));
      run(cell, cell.all());
      const attributeless = new Cell(bare());
      run(attributeless, attributeless.all());
    });

    it("scores one row again within the same bounds, where it does", () => {
      const scorer = options.create();
      const cell = new Cell(options.nodes());
      if (scorer.rescore === undefined) return;
      for (const row of rows(cell.all())) {
        const score = scorer.rescore(row, cell.context);
        assert.ok(Number.isFinite(score) && score >= -1 && score <= 1, `row ${row} has the score ${score}`);
      }
    });

    it("looks at columns, not at each node by itself", () => {
      const cell = new Cell(manyOf(options.nodes()));
      run(cell, cell.all());
      assert.ok(cell.looks <= MAX_LOOKS, `${cell.looks} looks at the columns for ${LARGE} nodes`);
    });
  });
}

/** Every n-th row of a set. */
function every(candidates: Candidates, n: number): Candidates {
  const some = new Candidates(candidates.length);
  for (const [at, row] of rows(candidates).entries()) if (at % n === 0) some.add(row);
  return some;
}
