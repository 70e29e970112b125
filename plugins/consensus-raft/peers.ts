/** The other servers as this one reaches and hears them: a link out to each, and the streams that come in. */
import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Logger, RpcCaller, ServerNetwork } from "@drover/plugin-sdk";
import { readFrames, writeFrame } from "@drover/plugin-sdk/consensus";
import { Complaints } from "./complaints.js";
import type { Configuration, Message } from "./core/types.js";
import { checkHello, decodeHello, encodeHello, type Hello, refusal } from "./hello.js";
import { decodeMessage, MESSAGE_VERSION } from "./message-codec.js";
import { MESSAGES_METHOD, PeerLink } from "./peer-link.js";

export interface PeersParts {
  readonly network: ServerNetwork;
  readonly log: Logger;
  readonly self: { readonly id: string; readonly address: string; readonly region: string };
  /** Milliseconds to open a stream, and after which a silent stream no longer keeps another one out. */
  readonly patience: number;
  readonly maxFrameBytes: number;
  /** The cluster this server belongs to; null for none yet. */
  cluster(): string | null;
  receive(message: Message): void;
}

interface Inbound {
  readonly stream: Duplex;
  readonly hello: Hello;
  heardAt: number;
}

export class Peers {
  readonly #links = new Map<string, PeerLink>();
  readonly #inbound = new Map<string, Inbound>();
  /** When each server was last heard, monotonic milliseconds. */
  readonly #heard = new Map<string, number>();
  readonly #incarnation = randomUUID();
  #configuration: Configuration = { servers: [] };
  readonly #complaints = new Complaints();
  readonly #remove: () => void;

  constructor(private readonly parts: PeersParts) {
    this.#remove = parts.network.handleStream(MESSAGES_METHOD, (stream, body, caller) =>
      this.#accept(stream, body, caller),
    );
  }

  close(): void {
    this.#remove();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    for (const { stream } of this.#inbound.values()) stream.destroy();
    this.#inbound.clear();
  }

  /** Keeps links to the servers of the configuration, and to no others. */
  follow(configuration: Configuration): void {
    this.#configuration = configuration;
    for (const { id } of configuration.servers) this.#link(id)?.ensure();
    for (const [id, link] of this.#links) {
      if (this.addressOf(id) === link.address) continue;
      link.close();
      this.#links.delete(id);
    }
  }

  send(messages: readonly Message[]): void {
    for (const message of messages) this.#link(message.to)?.send(message);
  }

  /** Milliseconds since a server was heard; null when it never was. */
  lastContact(id: string): number | null {
    const heard = this.#heard.get(id);
    return heard === undefined ? null : performance.now() - heard;
  }

  /** Throws for a server that must not speak with this one. */
  check(hello: Hello, caller: RpcCaller): void {
    checkHello(hello, { ...this.parts.self, cluster: this.parts.cluster() }, caller);
  }

  /** Where a server that is connected says it is. */
  announcedAddress(id: string): string | undefined {
    return this.#inbound.get(id)?.hello.address;
  }

  greet(to: string): Hello {
    const { self } = this.parts;
    return {
      version: MESSAGE_VERSION,
      cluster: this.parts.cluster(),
      region: self.region,
      id: self.id,
      address: self.address,
      incarnation: this.#incarnation,
      to,
    };
  }

  /** A server's own word on its address is newer than the configuration's. */
  addressOf(id: string): string | undefined {
    return (
      this.announcedAddress(id) ?? this.#configuration.servers.find((server) => server.id === id)?.address
    );
  }

  #link(id: string): PeerLink | undefined {
    if (id === this.parts.self.id) return undefined;
    const address = this.addressOf(id);
    const known = this.#links.get(id);
    if (known !== undefined && known.address === address) return known;
    known?.close();
    this.#links.delete(id);
    if (address === undefined) return undefined;
    const { network, log, patience } = this.parts;
    const link = new PeerLink(id, address, {
      network,
      log,
      deadline: patience,
      greet: (to) => this.greet(to),
    });
    this.#links.set(id, link);
    return link;
  }

  async #accept(stream: Duplex, body: Uint8Array, caller: RpcCaller): Promise<void> {
    const { log } = this.parts;
    stream.on("error", () => undefined);
    let hello: Hello | undefined;
    try {
      hello = decodeHello(body);
      this.check(hello, caller);
      this.#checkDuplicate(hello);
    } catch (error) {
      const { message } = error as Error;
      if (this.#complaints.due(hello?.id ?? caller.address, message))
        log.error({ address: caller.address, error: message }, "refused a server's raft messages");
      throw error;
    }
    this.#complaints.clear(hello.id);
    const inbound: Inbound = { stream, hello, heardAt: performance.now() };
    this.#inbound.get(hello.id)?.stream.destroy();
    this.#inbound.set(hello.id, inbound);
    this.#heard.set(hello.id, inbound.heardAt);
    writeFrame(stream, encodeHello(this.greet(hello.id)));
    void this.#read(inbound);
  }

  /** A restarted server takes the place of its last life; a second one under the same id does not, while the first is heard. */
  #checkDuplicate(hello: Hello): void {
    const present = this.#inbound.get(hello.id);
    if (present === undefined || present.hello.incarnation === hello.incarnation) return;
    if (performance.now() - present.heardAt > this.parts.patience) return;
    throw refusal(
      `server ${hello.id} at ${hello.address} is connected already, from ${present.hello.address}; where these are two servers, one runs on a copy of the other's data_dir: remove its server/node-id and server/raft`,
    );
  }

  async #read(inbound: Inbound): Promise<void> {
    const { stream, hello } = inbound;
    const { log, self, maxFrameBytes } = this.parts;
    try {
      for await (const frame of readFrames(stream, maxFrameBytes)) {
        inbound.heardAt = performance.now();
        this.#heard.set(hello.id, inbound.heardAt);
        this.parts.receive(decodeMessage(frame, hello.id, self.id));
      }
    } catch (error) {
      log.warn(
        { peer: hello.id, address: hello.address, error: (error as Error).message },
        "a stream of raft messages broke",
      );
    } finally {
      stream.destroy();
      if (this.#inbound.get(hello.id) === inbound) this.#inbound.delete(hello.id);
    }
  }
}
