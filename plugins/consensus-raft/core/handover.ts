/** Leadership on its way to another server (section 3.10). */
export class Handover {
  #to: string | null = null;
  #ticks = 0;
  #aborted: string | null = null;

  get to(): string | null {
    return this.#to;
  }
  /** Whether one ended in vain and nobody was told yet. */
  get wasAborted(): boolean {
    return this.#aborted !== null;
  }

  begin(to: string): void {
    this.#to = to;
    this.#ticks = 0;
  }

  /** Time passes; after `limit` ticks it is given up. */
  tick(limit: number): void {
    if (this.#to === null || ++this.#ticks < limit) return;
    this.#aborted = this.#to;
    this.#to = null;
  }

  /** This server leads no more, whoever does. */
  end(): void {
    this.#to = null;
  }

  takeAborted(): string | null {
    const aborted = this.#aborted;
    this.#aborted = null;
    return aborted;
  }
}
