import {
  type AgentMethods,
  type AgentStreams,
  type AgentTransport,
  type Consensus,
  type FileFrame,
  RemoteError,
  RpcError,
  type RpcErrorCode,
  type ServerNetwork,
} from "@drover/plugin-sdk";
import { z } from "zod";
import { receiveFrames, sendFrames } from "./agent-frames.js";
import { decode, pack, unpack } from "./codec.js";

const LOCATE = "Agent.Locate";
const CALL = "Agent.Call";
const STREAM = "Agent.Stream";
/** Milliseconds in which the other servers say whether they have a node. */
const LOCATE_DEADLINE = 2_000;
/** Milliseconds that an agent has to answer, as when it is connected here, and what the way there may take on top. */
const AGENT_DEADLINE = 10_000;
const HOP = 1_000;
/** Code of the error of a server that does not have the node (any more): nothing was done. */
const NOT_HERE = "not_here";
/** Nodes whose server is remembered. */
const MAX_KNOWN = 10_000;

const LocateArguments = z.tuple([z.string().max(64)]);
const CallArguments = z.tuple([z.string().max(64), z.string().max(64), z.record(z.string(), z.unknown())]);

export interface AgentCallsParts {
  readonly consensus: Consensus;
  readonly transport: AgentTransport;
  readonly network: ServerNetwork;
}

/**
 * Calls agents on whichever server they are connected to. The connections themselves are the table of who has which node: the
 * servers are asked, and what they say is remembered until it turns out wrong, so that there is nothing to keep in step when
 * nodes move or the leader changes.
 */
export class AgentCalls {
  readonly #remove: (() => void)[] = [];
  /** When a node's present connection to this server began, by the monotonic clock. */
  readonly #since = new Map<string, number>();
  /** Addresses of other servers by node. */
  readonly #known = new Map<string, string>();

  constructor(private readonly parts: AgentCallsParts) {
    const { network, transport } = parts;
    this.#remove.push(
      network.handle(LOCATE, async (body) => {
        return pack(this.#age(unpack(LOCATE, LocateArguments, body)[0]));
      }),
      network.handle(CALL, async (body, _caller, signal) => {
        const [nodeId, method, request] = unpack(CALL, CallArguments, body);
        this.#mustBeHere(nodeId);
        return pack(await transport.call(nodeId, method as keyof AgentMethods, request as never, { signal }));
      }),
      network.handleStream(STREAM, async (stream, body) => {
        const [nodeId, method, request] = unpack(STREAM, CallArguments, body);
        const open = (signal: AbortSignal): AsyncIterable<FileFrame> => {
          this.#mustBeHere(nodeId);
          return transport.stream(nodeId, method as keyof AgentStreams, request as never, signal);
        };
        await sendFrames(stream, open);
      }),
    );
  }

  stop(): void {
    for (const remove of this.#remove.splice(0)) remove();
  }

  /** A node connected to this server, or is gone from it. */
  connection(nodeId: string, connected: boolean): void {
    if (connected) this.#since.set(nodeId, performance.now());
    else this.#since.delete(nodeId);
  }

  /** Rejects with RemoteError: the agent's own, `unreachable` where no server has the node, `timeout`. */
  async call<M extends keyof AgentMethods>(
    nodeId: string,
    method: M,
    request: AgentMethods[M]["request"],
  ): Promise<AgentMethods[M]["answer"]> {
    const { network, transport } = this.parts;
    for (let last = false; ; last = true) {
      const address = await this.#locate(nodeId);
      if (address === undefined) return transport.call(nodeId, method, request);
      try {
        const body = pack([nodeId, method, request]);
        const answer = await network.call(address, CALL, body, { deadline: AGENT_DEADLINE + HOP });
        return decode(`the answer of ${address} to ${CALL}`, answer) as AgentMethods[M]["answer"];
      } catch (error) {
        if (!this.#moved(nodeId, error) || last) throw asRemote(nodeId, error);
      }
    }
  }

  /** As `call`; leaving the loop or aborting closes the stream at the agent. */
  async *stream<M extends keyof AgentStreams>(
    nodeId: string,
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncGenerator<FileFrame, void, undefined> {
    const { network, transport } = this.parts;
    for (let last = false; ; last = true) {
      const address = await this.#locate(nodeId);
      if (address === undefined) {
        yield* transport.stream(nodeId, method, request, signal);
        return;
      }
      try {
        const body = pack([nodeId, method, request]);
        const stream = await network.stream(address, STREAM, body, { deadline: AGENT_DEADLINE, signal });
        yield* receiveFrames(stream, signal);
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        if (!this.#moved(nodeId, error) || last) throw asRemote(nodeId, error);
      }
    }
  }

  /** Address of the other server that has the node; undefined where it is this one. */
  async #locate(nodeId: string): Promise<string | undefined> {
    const { consensus, transport } = this.parts;
    if (transport.shared) {
      const leader = consensus.leader();
      if (leader === undefined) throw new RemoteError("unreachable", `no leader reaches node ${nodeId} now`);
      return leader.id === consensus.id ? undefined : leader.address;
    }
    if (transport.isConnected(nodeId)) return undefined;
    const known = this.#known.get(nodeId);
    if (known !== undefined) return known;
    const found = await this.#ask(nodeId);
    if (found === undefined) {
      throw new RemoteError(
        "unreachable",
        `node ${nodeId} is not connected to any server that can be reached`,
      );
    }
    // The oldest makes room: maps keep the order in which keys came.
    if (this.#known.size >= MAX_KNOWN) this.#known.delete(this.#known.keys().next().value as string);
    this.#known.set(nodeId, found);
    return found;
  }

  /**
   * Asks every other server. One that did not notice yet that the node left it still claims it: of several the youngest
   * connection counts.
   */
  async #ask(nodeId: string): Promise<string | undefined> {
    const { consensus, network } = this.parts;
    const others = consensus.peers().filter(({ id }) => id !== consensus.id);
    const answers = await Promise.all(
      others.map(async ({ address }): Promise<{ address: string; age: number } | undefined> => {
        try {
          const body = await network.call(address, LOCATE, pack([nodeId]), { deadline: LOCATE_DEADLINE });
          const age = unpack(`the answer of ${address} to ${LOCATE}`, z.number().nullable(), body);
          return age === null ? undefined : { address, age };
        } catch {
          // It can't be asked, so it could not be called either.
          return undefined;
        }
      }),
    );
    const claims = answers.filter((answer) => answer !== undefined);
    return claims.sort((one, other) => one.age - other.age)[0]?.address;
  }

  /** Milliseconds that the node has been connected to this server, null where it is not. */
  #age(nodeId: string): number | null {
    if (!this.parts.transport.isConnected(nodeId)) return null;
    const since = this.#since.get(nodeId);
    return since === undefined ? 0 : performance.now() - since;
  }

  #mustBeHere(nodeId: string): void {
    if (this.parts.transport.isConnected(nodeId)) return;
    throw new RemoteError(NOT_HERE, `node ${nodeId} is not connected to this server`);
  }

  /** Forgets where the node was; true where nothing was done there, so that it may be looked for again. */
  #moved(nodeId: string, error: unknown): boolean {
    this.#known.delete(nodeId);
    if (error instanceof RemoteError) return error.code === NOT_HERE;
    return error instanceof RpcError && error.code === "ERR_RPC_UNREACHABLE";
  }
}

function asRemote(nodeId: string, error: unknown): unknown {
  if (error instanceof RemoteError && error.code === NOT_HERE)
    return new RemoteError("unreachable", error.message);
  if (!(error instanceof RpcError)) return error;
  const codes: Partial<Record<RpcErrorCode, string>> = { ERR_RPC_DEADLINE: "timeout", ERR_RPC_BUSY: "busy" };
  const code = codes[error.code] ?? "unreachable";
  return new RemoteError(code, `node ${nodeId} was not reached through its server: ${error.message}`);
}
