import type { Message } from "../../plugins/consensus-raft/core/types.js";
import type { EventQueue } from "./events.js";
import type { Random } from "./random.js";

export interface NetworkFaults {
  readonly loss: number;
  readonly duplication: number;
  /** Share of messages that are late, which also changes their order, and by up to how many milliseconds. */
  readonly late: number;
  readonly lateness: number;
}

/** Links between servers, each direction by itself. */
export class Network {
  /** Cut links, as `from>to`. */
  readonly #cut = new Set<string>();
  calm = false;

  constructor(
    private readonly events: EventQueue,
    private readonly random: Random,
    private readonly faults: NetworkFaults,
    private readonly deliver: (message: Message) => void,
  ) {}

  open(from: string, to: string): boolean {
    return !this.#cut.has(`${from}>${to}`);
  }

  cut(from: string, to: string): void {
    if (from !== to) this.#cut.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  send(message: Message): void {
    const { loss, duplication } = this.faults;
    if (!this.calm && this.random.chance(loss)) return;
    const copies = !this.calm && this.random.chance(duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      this.events.after(this.#delay(), () => {
        // Cut links lose what is under way as well.
        if (this.open(message.from, message.to)) this.deliver(message);
      });
    }
  }

  #delay(): number {
    const { late, lateness } = this.faults;
    if (!this.calm && this.random.chance(late)) return this.random.between(1, lateness);
    return this.random.between(0.3, 2);
  }
}
