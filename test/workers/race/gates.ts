/** Where a race decides who goes on, and what is committed next. */
import { SingleConsensus } from "../../core/server/single-consensus.js";

/** Of each name the one that came first. */
export class Gates {
  readonly #waiting = new Map<string, (() => void)[]>();

  pass(name: string): Promise<void> {
    return new Promise((resolve) => {
      const queue = this.#waiting.get(name) ?? [];
      queue.push(resolve);
      this.#waiting.set(name, queue);
    });
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Lets one go on; `pick` is any number. */
  open(pick: number): void {
    const name = [...this.#waiting.keys()][pick % this.#waiting.size]!;
    const queue = this.#waiting.get(name)!;
    const go = queue.shift()!;
    if (queue.length === 0) this.#waiting.delete(name);
    go();
  }
}

/** Commits what is proposed in its order, when the race lets it; tells of every commit. */
export class GatedConsensus extends SingleConsensus {
  gates: Gates | null = null;
  onCommit = (): void => {};

  override async propose(data: Uint8Array): Promise<{ index: number; result: unknown }> {
    await this.gates?.pass("commit");
    const proposed = await super.propose(data);
    this.onCommit();
    return proposed;
  }
}
