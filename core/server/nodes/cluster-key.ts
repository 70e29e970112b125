import {
  type AgentTransport,
  type ClusterKeyPair,
  type Consensus,
  type Logger,
  type ServerNetwork,
  type StateReader,
} from "@drover/plugin-sdk";
import { z } from "zod";
import { pack, unpack } from "../../rpc/forwarding/codec.js";
import { CommandType } from "../../state/index.js";
import type { CommandLog } from "../command-log.js";

const METHOD = "Cluster.AgentKey";
const DEADLINE = 5_000;
/** Where the state says which key is the cluster's: the public part, base64. */
const PLACE = ["drover", "cluster", "agent-key"] as const;
const Announcement = z.object({ PublicKey: z.string() });
const Arguments = z.tuple([z.string().max(64)]);
const Answer = z
  .instanceof(Uint8Array)
  .refine((key) => key.length === 32, "must be 32 bytes")
  .nullable();

export interface ClusterKeyParts {
  readonly consensus: Consensus;
  readonly commands: CommandLog;
  readonly state: StateReader;
  readonly transport: AgentTransport;
  readonly network: ServerNetwork;
  readonly log: Logger;
}

/**
 * The key pair by which agents know the cluster, on every server of it. The first leader makes it, or brings along the one that
 * it has, and writes the public part into the state; who holds another one or none asks the other servers for the secret part.
 * It goes from server to server alone: never through the log, a snapshot or the broker.
 */
export class ClusterKey {
  readonly #remove: () => void;
  #warned = false;
  #complaint = "";

  constructor(private readonly parts: ClusterKeyParts) {
    this.#remove = parts.network.handle(METHOD, async (body, caller) => {
      const pair = this.#held(unpack(METHOD, Arguments, body)[0]);
      if (pair === undefined) return pack(null);
      if (caller.identity === undefined) this.#warn(caller.address);
      return pack(pair.secretKey);
    });
  }

  stop(): void {
    this.#remove();
  }

  /** The key pair that the state names, if this server holds it. */
  get current(): ClusterKeyPair | undefined {
    const announced = this.#announced();
    return announced === undefined ? undefined : this.#held(announced);
  }

  /** One try at getting there; false where it has to be tried again. `release` ends what uses the present key. */
  async acquire(release: () => Promise<void>): Promise<boolean> {
    const announced = this.#announced();
    if (announced === undefined) return this.#announce();
    if (this.#held(announced) !== undefined) return true;
    await release();
    const { found, silent } = await this.#ask(announced);
    if (found !== undefined) {
      await this.parts.transport.adoptClusterKey(found);
      this.parts.log.info({}, "took over the cluster's key for agents from another server");
      return true;
    }
    if (silent.length > 0 || !this.parts.consensus.isLeader()) {
      this.#complain(
        silent.length > 0
          ? `no server that can be reached holds the cluster's key for agents; not reached: ${silent.join(", ")}`
          : "no server holds the cluster's key for agents; the leader makes another one",
      );
      return false;
    }
    this.parts.log.error(
      {},
      "the cluster's key for agents is lost, no server holds it: making another one, and every node must enrol again. " +
        "To keep the nodes, stop the servers and restore the file server/cluster-key of a server's data_dir from a copy",
    );
    return this.#announce();
  }

  #announced(): string | undefined {
    using snapshot = this.parts.state.snapshot();
    const row = Announcement.safeParse(snapshot.pluginRow(...PLACE));
    return row.success ? row.data.PublicKey : undefined;
  }

  /** This server's pair, if it is the one of that public key. */
  #held(publicKey: string): ClusterKeyPair | undefined {
    const pair = this.parts.transport.clusterKeyPair();
    return pair !== undefined && base64(pair.publicKey) === publicKey ? pair : undefined;
  }

  /** On the leader: names the cluster's key in the state. */
  async #announce(): Promise<boolean> {
    const { consensus, commands, transport } = this.parts;
    if (!consensus.isLeader()) return false;
    const before = this.#announced();
    // Another leader's word may be committed and not applied here yet.
    await consensus.barrier();
    if (this.#announced() !== before) return false;
    const own = transport.clusterKeyPair();
    const pair = before === undefined && own !== undefined ? own : await transport.createClusterKey();
    const [Plugin, Table, Key] = PLACE;
    const Value = { PublicKey: base64(pair.publicKey) };
    await commands.propose(CommandType.PluginRowPut, { Plugin, Table, Key, Value });
    return true;
  }

  /** The pair, if another server has it, and the servers that did not answer. */
  async #ask(publicKey: string): Promise<{ found: ClusterKeyPair | undefined; silent: string[] }> {
    const { consensus, network } = this.parts;
    const silent: string[] = [];
    const others = consensus.peers().filter(({ id }) => id !== consensus.id);
    const leaderFirst = [...others].sort((one, other) => Number(other.leader) - Number(one.leader));
    for (const { address } of leaderFirst) {
      try {
        const body = await network.call(address, METHOD, pack([publicKey]), { deadline: DEADLINE });
        const secretKey = unpack(`the answer of ${address} to ${METHOD}`, Answer, body);
        if (secretKey === null) continue;
        return { found: { publicKey: Buffer.from(publicKey, "base64"), secretKey }, silent };
      } catch (error) {
        silent.push(`${address} (${error instanceof Error ? error.message : String(error)})`);
      }
    }
    return { found: undefined, silent };
  }

  #warn(address: string): void {
    if (this.#warned) return;
    this.#warned = true;
    this.parts.log.warn(
      { address },
      "gave the cluster's key for agents to a server over a connection without TLS: whoever listens can read it. Configure tls { rpc = true }",
    );
  }

  /** Once for each problem: tries go on for as long as it stays. */
  #complain(problem: string): void {
    if (this.#complaint === problem) return;
    this.#complaint = problem;
    this.parts.log.warn({}, `agents are not served yet: ${problem}; trying on`);
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
