/** Status updates on their way to the servers: batched, newest wins, kept until acknowledged. */
import type { AllocationUpdate, Logger } from "@drover/plugin-sdk";
import { sleep } from "../clock.js";

/** Milliseconds that updates are collected before they go out together. */
const COLLECT = 200;
/** Updates in one batch at most: a batch must stay well under a broker's limits. */
const BATCH = 64;
/** Pause after a failure, doubled up to the last, milliseconds. */
const RETRY_FIRST = 250;
const RETRY_LAST = 15_000;

export interface UpdateQueueOptions {
  readonly send: (updates: readonly AllocationUpdate[]) => Promise<void>;
  readonly acknowledged: (update: AllocationUpdate) => void;
  readonly log: Logger;
}

export class UpdateQueue {
  private readonly waiting = new Map<string, AllocationUpdate>();
  private sending: Promise<void> | undefined;
  private connected = false;
  private wake = new AbortController();
  private readonly closed = new AbortController();

  constructor(private readonly options: UpdateQueueOptions) {}

  /** Updates that no server has acknowledged. */
  get size(): number {
    return this.waiting.size;
  }

  push(update: AllocationUpdate): void {
    this.waiting.set(update.ID, update);
    this.pump();
  }

  /** The servers forgot the allocation: nobody wants to know. */
  drop(id: string): void {
    this.waiting.delete(id);
  }

  setConnected(connected: boolean): void {
    this.connected = connected;
    if (connected) {
      this.wake.abort();
      this.pump();
    }
  }

  close(): void {
    this.closed.abort();
    this.wake.abort();
  }

  private pump(): void {
    if (!this.connected || this.closed.signal.aborted) return;
    this.sending ??= this.sendAll().finally(() => {
      this.sending = undefined;
      if (this.waiting.size > 0) this.pump();
    });
  }

  private async sendAll(): Promise<void> {
    let pause = RETRY_FIRST;
    await sleep(COLLECT, this.closed.signal);
    while (this.waiting.size > 0 && this.connected && !this.closed.signal.aborted) {
      const batch = [...this.waiting.values()].slice(0, BATCH);
      try {
        await this.options.send(batch);
      } catch (error) {
        this.options.log.debug(
          { updates: batch.length, error: String(error) },
          "status updates not taken, trying again",
        );
        this.wake = new AbortController();
        await sleep(pause * (0.75 + Math.random() / 2), this.wake.signal);
        pause = Math.min(pause * 2, RETRY_LAST);
        continue;
      }
      pause = RETRY_FIRST;
      for (const update of batch) {
        // One that was overtaken while it was on its way stays.
        if (this.waiting.get(update.ID) === update) this.waiting.delete(update.ID);
        this.options.acknowledged(update);
      }
      if (this.waiting.size > 0) await sleep(COLLECT, this.closed.signal);
    }
  }
}
