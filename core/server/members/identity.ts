/** Which cluster a server belongs to, asked of the server itself. */
import type { Consensus, Logger, ServerNetwork, StateReader } from "@drover/plugin-sdk";
import { z } from "zod";
import { decodeBody, encodeBody, MEMBERS_PROTOCOL } from "./member-record.js";

const IDENTIFY = "Members.Identify";
const REFUSED = "Members.Refused";
/** Milliseconds. */
const DEADLINE = 2_000;
/** Milliseconds during which the same refusal is not logged again. */
const QUIET = 60_000;

const identifySchema = z.object({ version: z.number() });
const identitySchema = z.object({
  version: z.number(),
  id: z.string().max(128),
  name: z.string().max(300),
  /** Whether its log names a cluster. */
  bootstrapped: z.boolean(),
  /** Empty where it has not learnt it yet. */
  cluster: z.string().max(128),
});
export type Identity = z.output<typeof identitySchema>;

const refusedSchema = z.object({
  version: z.number(),
  /** Name of the leader that refuses. */
  by: z.string().max(300),
  why: z.string().max(2_000),
});

export interface IdentityParts {
  readonly consensus: Consensus;
  readonly network: ServerNetwork;
  readonly state: StateReader;
  /** `<node>.<region>` of this server. */
  readonly name: string;
  readonly log: Logger;
}

/** Tells other servers which cluster this one belongs to, and hears why a cluster does not take it in. */
export class ServerIdentity {
  #unhandle: (() => void)[] = [];
  readonly #heard = new Map<string, number>();

  constructor(private readonly parts: IdentityParts) {}

  start(): void {
    const { network } = this.parts;
    this.#unhandle = [
      network.handle(IDENTIFY, async (body) => {
        decodeBody(identifySchema, body, IDENTIFY);
        return encodeBody(this.#own());
      }),
      network.handle(REFUSED, async (body) => {
        this.#onRefused(decodeBody(refusedSchema, body, REFUSED));
        return new Uint8Array(0);
      }),
    ];
  }

  stop(): void {
    for (const unhandle of this.#unhandle.splice(0)) unhandle();
  }

  /** The identifier of this server's cluster; empty where it is in none, or has not learnt it yet. */
  cluster(): string {
    using snapshot = this.parts.state.snapshot();
    return snapshot.clusterMetadata()?.ClusterID ?? "";
  }

  /** Asks the server at `address`. */
  async identify(address: string): Promise<Identity> {
    const answer = await this.parts.network.call(
      address,
      IDENTIFY,
      encodeBody({ version: MEMBERS_PROTOCOL }),
      { deadline: DEADLINE },
    );
    return decodeBody(identitySchema, answer, IDENTIFY);
  }

  /** Tells the server at `address` why it is not taken into the cluster, so that its own log says so. */
  async refuse(address: string, why: string): Promise<void> {
    const body = encodeBody({ version: MEMBERS_PROTOCOL, by: this.parts.name, why });
    await this.parts.network.call(address, REFUSED, body, { deadline: DEADLINE });
  }

  #own(): Identity {
    const { consensus, name } = this.parts;
    return {
      version: MEMBERS_PROTOCOL,
      id: consensus.id,
      name,
      bootstrapped: consensus.membership?.bootstrapped() ?? true,
      cluster: this.cluster(),
    };
  }

  #onRefused({ by, why }: z.output<typeof refusedSchema>): void {
    const now = performance.now();
    for (const [key, at] of this.#heard) if (now - at > QUIET) this.#heard.delete(key);
    const key = `${by} ${why}`;
    if (this.#heard.has(key) || this.#heard.size >= 100) return;
    this.#heard.set(key, now);
    this.parts.log.error({ leader: by }, `the cluster does not take this server in: ${why}`);
  }
}
