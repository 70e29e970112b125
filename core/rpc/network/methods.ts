/** The methods that this server answers, and who may call them. */
import {
  type RpcCaller,
  RpcError,
  type RpcHandler,
  type RpcMethodOptions,
  type RpcStreamHandler,
} from "@drover/plugin-sdk";
import { type Kind, LIMITS } from "./wire.js";

interface MethodOptions {
  readonly clients: boolean;
  readonly otherRegions: boolean;
  readonly maxBody: number;
  readonly maxAnswer: number;
}

export type Method = MethodOptions &
  (
    | { readonly kind: "call"; readonly handler: RpcHandler }
    | { readonly kind: "stream"; readonly handler: RpcStreamHandler }
  );

const NAME = /^[A-Za-z][A-Za-z0-9]*\.[A-Za-z][A-Za-z0-9]*$/;

export class Methods {
  readonly #methods = new Map<string, Method>();

  /** @param region the server's own */
  constructor(private readonly region: string) {}

  add(name: string, handler: Pick<Method, "kind" | "handler">, options: RpcMethodOptions = {}): () => void {
    if (!NAME.test(name)) throw new Error(`"${name}" is no name of a method: write Service.Method`);
    if (this.#methods.has(name)) throw new Error(`${name} has a handler already`);
    const method = {
      clients: false,
      otherRegions: false,
      maxBody: LIMITS.maxBody,
      maxAnswer: LIMITS.maxAnswer,
      ...options,
      ...handler,
    } as Method;
    this.#methods.set(name, method);
    return () => {
      if (this.#methods.get(name) === method) this.#methods.delete(name);
    };
  }

  /**
   * The method, if the caller may call it. Throws an `RpcError`.
   *
   * @param claimed region that the caller says it is of
   * @param target region that it wants to reach, or `*`
   */
  find(name: string, kind: Kind, caller: RpcCaller, claimed: string, target: string): Method {
    if (target !== "*" && target !== this.region) {
      throw refused(`it is of region "${this.region}", and the caller wants region "${target}"`);
    }
    const method = this.#methods.get(name);
    if (method === undefined || method.kind !== kind) {
      throw new RpcError(
        "ERR_RPC_NO_METHOD",
        `no ${kind} ${name} is served here: the server is of another version, or not ready`,
      );
    }
    this.#admit(name, method, caller, claimed);
    return method;
  }

  #admit(name: string, method: Method, { identity }: RpcCaller, claimed: string): void {
    if (identity !== undefined && identity.region !== claimed) {
      throw refused(
        `the caller's certificate is of region "${identity.region}", and it says that it is of "${claimed}"`,
      );
    }
    const role = identity?.role ?? "server";
    if (claimed !== this.region && !(role === "server" && method.otherRegions)) {
      throw refused(
        `${name} is for region "${this.region}" alone, and the caller is a ${role} of region "${claimed}"`,
      );
    }
    if (role === "client" && !method.clients) {
      throw refused(`${name} is for servers, and the caller's certificate is a client's (client.${claimed})`);
    }
  }
}

const refused = (why: string): RpcError =>
  new RpcError("ERR_RPC_REFUSED", `the server refuses the call: ${why}`);
