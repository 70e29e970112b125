/** What plans of this thread take that are on their way: they were submitted, and the columns don't show them yet. */
import type { NodeColumns, PackedPlan } from "@drover/plugin-sdk";

/** Room that is taken besides what the columns say, by row: MHz, MiB and MiB. Rows beyond its arrays have none. */
export interface TakenRoom {
  readonly cpu: Float64Array;
  readonly memory: Float64Array;
  readonly disk: Float64Array;
}

/** Where the answers to plans come in. */
interface AnswerPort {
  /** Takes in the answers that have come and that the event loop had no turn for. */
  poll(): void;
}

export class UnderwayPlans {
  #room: TakenRoom = roomOf(0);
  readonly #plans = new Map<PackedPlan, { readonly rows: Int32Array; readonly port: AnswerPort }>();

  constructor(private readonly columns: NodeColumns) {}

  add(plan: PackedPlan, port: AnswerPort): void {
    const rows = Int32Array.from(plan.nodes, (node) => this.columns.row(node) ?? -1);
    this.#grow(this.columns.length);
    this.#plans.set(plan, { rows, port });
    this.#count(plan, rows, 1);
  }

  /** It is answered: the columns show what was committed of it. */
  remove(plan: PackedPlan): void {
    const known = this.#plans.get(plan);
    if (known === undefined) return;
    this.#plans.delete(plan);
    this.#count(plan, known.rows, -1);
  }

  /** As things are now; null where nothing is under way. */
  room(): TakenRoom | null {
    for (const { port } of [...this.#plans.values()]) port.poll();
    return this.#plans.size === 0 ? null : this.#room;
  }

  #count(plan: PackedPlan, rows: Int32Array, by: 1 | -1): void {
    const { cpu, memory, disk } = this.#room;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      if (row < 0) continue;
      cpu[row]! += by * plan.cpu[i]!;
      memory[row]! += by * plan.memory[i]!;
      disk[row]! += by * plan.disk[i]!;
    }
  }

  #grow(length: number): void {
    if (length <= this.#room.cpu.length) return;
    const before = this.#room;
    this.#room = roomOf(length);
    for (const name of ["cpu", "memory", "disk"] as const) this.#room[name].set(before[name]);
  }
}

function roomOf(length: number): TakenRoom {
  return {
    cpu: new Float64Array(length),
    memory: new Float64Array(length),
    disk: new Float64Array(length),
  };
}
