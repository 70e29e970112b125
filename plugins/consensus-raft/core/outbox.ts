import type { Effects, Message, MessageBody } from "./types.js";

/** Messages until the shell takes them. */
export class Outbox {
  #messages: Message[] = [];
  #afterPersist: Message[] = [];

  constructor(private readonly from: string) {}

  get empty(): boolean {
    return this.#messages.length === 0 && this.#afterPersist.length === 0;
  }

  /** For what promises no durability here: it may leave before this server's disk is done. */
  send(to: string, term: number, body: MessageBody): void {
    this.#messages.push({ ...body, from: this.from, to, term });
  }

  sendAfterPersist(to: string, term: number, body: MessageBody): void {
    this.#afterPersist.push({ ...body, from: this.from, to, term });
  }

  take(): Pick<Effects, "messages" | "messagesAfterPersist"> {
    const taken = { messages: this.#messages, messagesAfterPersist: this.#afterPersist };
    this.#messages = [];
    this.#afterPersist = [];
    return taken;
  }

  /** What they promise was not written. */
  dropPromises(): void {
    this.#afterPersist = [];
  }
}
