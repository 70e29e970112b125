/** A consistent view of the state at one index: one LMDB read transaction. */
import type { AllocationOutline, StateSnapshot } from "@drover/plugin-sdk";
import type { RootDatabase, Transaction } from "lmdb";
import { RowReader } from "./row-reader.js";
import type { OpenTables } from "./schema.js";

export class LmdbSnapshot extends RowReader implements StateSnapshot {
  readonly index: number;
  private open = true;
  /** The job whose allocations were read last: who reconciles a job and who places for it ask alike. */
  private lastJob:
    | { readonly namespace: string; readonly id: string; readonly outlines: readonly AllocationOutline[] }
    | undefined;

  private constructor(
    tables: OpenTables,
    private readonly transaction: Transaction,
    private readonly closed: (snapshot: LmdbSnapshot) => void,
  ) {
    super(tables, transaction);
    this.index = this.appliedIndex();
  }

  /**
   * The newest committed state, as this thread sees it now. Close it: until then its old pages can't be reused. `closed`
   * is told when that happened.
   */
  static take(
    env: RootDatabase,
    tables: OpenTables,
    closed: (snapshot: LmdbSnapshot) => void = () => undefined,
  ): LmdbSnapshot {
    const { fence } = tables;
    const begin = (): Transaction => {
      // The thread's shared read transaction may be older than the last commit of another thread.
      env.resetReadTxn();
      return env.useReadTransaction();
    };
    const fenced = (): Transaction => {
      const transaction = begin();
      // Not shared: `lmdb` would reset a shared one from a timer, outside of the fence.
      env.resetReadTxn();
      return transaction;
    };
    const transaction = fence === null ? begin() : fence.within(fenced);
    try {
      return new LmdbSnapshot(tables, transaction, closed);
    } catch (error) {
      if (fence === null) transaction.done();
      else fence.within(() => transaction.done());
      throw error;
    }
  }

  override allocationOutlines(namespace: string, jobId: string): readonly AllocationOutline[] {
    this.check();
    if (this.lastJob?.id !== jobId || this.lastJob.namespace !== namespace) {
      this.lastJob = { namespace, id: jobId, outlines: super.allocationOutlines(namespace, jobId) };
    }
    return this.lastJob.outlines;
  }

  protected override check(): void {
    if (!this.open) throw new Error(`the snapshot at index ${this.index} is closed`);
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.lastJob = undefined;
    this.within(() => this.transaction.done());
    this.closed(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
