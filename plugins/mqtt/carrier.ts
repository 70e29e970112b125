/** What the gateway needs of a broker, embedded or not. */

export interface CarrierEvents {
  /** A payload on one of the server's topics. `retained` when the broker kept it from earlier. */
  message(topic: string, payload: Buffer, retained: boolean): void;
  /** The embedded broker saw the connection of a node end. */
  disconnected(nodeId: string): void;
}

export interface Carrier {
  /** Whether other servers use the same broker. */
  readonly shared: boolean;
  /** Starts to deliver; nothing is taken from agents before. */
  serve(events: CarrierEvents): Promise<void>;
  /** Delivers nothing more, and lets go of the agents' connections where it holds them; `serve` may be called again. */
  unserve(): Promise<void>;
  /** Publishes on a `down` topic. Throws a `RemoteError` `unreachable` where the broker or the node is not there. */
  publish(nodeId: string, payload: Buffer): void;
  /** URLs under which agents reach it. */
  urls(): readonly string[];
  close(): Promise<void>;
}
