import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { ConsecutiveBreaker, circuitBreaker, handleWhen, isBrokenCircuitError, noop } from "cockatiel";
import {
  Etcd3,
  type ICompare,
  type IDuplexStream,
  type ILeaseKeepAliveResponse,
  type IRequestOp,
  type IWatchRequest,
  type IWatchResponse,
  isRecoverableError,
} from "etcd3";
import type { EtcdConfig } from "./config.js";
import { EtcdFailure, failureOf } from "./failures.js";
import type { KeyRange } from "./keys.js";

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  /** Revision of the last change. */
  readonly revision: number;
}

export interface TransactionResult {
  readonly succeeded: boolean;
  /** etcd's revision after it. */
  readonly revision: number;
  /** What each operation that was carried out read; empty for those that read nothing. */
  readonly reads: readonly (readonly KeyValue[])[];
}

export interface Change {
  readonly type: "put" | "delete";
  readonly kv: KeyValue;
}

/** Operations and comparisons of a transaction, by key in text. */
export const put = (key: string, value: Buffer, lease?: string): IRequestOp => ({
  request_put: { key: Buffer.from(key), value, ...(lease === undefined ? {} : { lease }) },
});
export const read = (key: string): IRequestOp => ({ request_range: { key: Buffer.from(key) } });
export const readRange = ({ start, end }: KeyRange, limit: number): IRequestOp => ({
  request_range: { key: Buffer.from(start), range_end: Buffer.from(end), limit },
});
export const remove = (key: string): IRequestOp => ({ request_delete_range: { key: Buffer.from(key) } });
export const removeRange = ({ start, end }: KeyRange): IRequestOp => ({
  request_delete_range: { key: Buffer.from(start), range_end: Buffer.from(end) },
});
/** The key was last changed at `revision`; 0: it is not there. */
export const changedAt = (key: string, revision: number): ICompare => ({
  key: Buffer.from(key),
  target: "Mod",
  result: "Equal",
  mod_revision: revision,
});
export const holds = (key: string, value: Buffer): ICompare => ({
  key: Buffer.from(key),
  target: "Value",
  result: "Equal",
  value,
});

/** Milliseconds after a failed request before the next member is asked. */
const PAUSE = 50;

/**
 * Requests to etcd. Each reaches one member at most, chosen at random among those that answered lately, and fails with an
 * `EtcdFailure`; what to do then is for the caller to know, except for reads, which `persistently` repeats.
 */
export class EtcdClient {
  readonly #etcd: Etcd3;

  private constructor(
    etcd: Etcd3,
    private readonly timeout: number,
    private readonly members: number,
  ) {
    this.#etcd = etcd;
  }

  /** Rejects when a file of the configuration can't be read. Connects to nothing yet. */
  static async create(config: EtcdConfig): Promise<EtcdClient> {
    const pem = async (key: "ca_file" | "cert_file" | "key_file"): Promise<Buffer | undefined> => {
      const file = config[key];
      if (file === undefined) return undefined;
      return readFile(file).catch((error: Error) => {
        throw new Error(`${key} of consensus-etcd can't be read: ${error.message}`, { cause: error });
      });
    };
    const [rootCertificate, certChain, privateKey] = [
      await pem("ca_file"),
      await pem("cert_file"),
      await pem("key_file"),
    ];
    const { username, password, request_timeout } = config;
    const etcd = new Etcd3({
      hosts: config.endpoints,
      ...(rootCertificate === undefined
        ? {}
        : {
            credentials: {
              rootCertificate,
              ...(certChain === undefined || privateKey === undefined ? {} : { certChain, privateKey }),
            },
          }),
      ...(username === undefined || password === undefined
        ? {}
        : { auth: { username, password, callOptions: () => ({ deadline: Date.now() + request_timeout }) } }),
      grpcOptions: {
        // A member that is back is used again at once, and one that vanished without a word is noticed.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 2000,
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": 512 * 1024 * 1024,
      },
      faultHandling: {
        // A member that failed twice is left alone for a second, as long as there are others.
        host: () =>
          circuitBreaker(handleWhen(isRecoverableError), {
            halfOpenAfter: 1000,
            breaker: new ConsecutiveBreaker(2),
          }),
        global: noop,
      },
    });
    return new EtcdClient(etcd, request_timeout, config.endpoints.length);
  }

  close(): void {
    this.#etcd.close();
  }

  /** Carries out `success` where every comparison holds, else `failure`: all of it or nothing. */
  async transaction(
    compare: readonly ICompare[],
    success: readonly IRequestOp[],
    failure: readonly IRequestOp[] = [],
  ): Promise<TransactionResult> {
    const response = await this.#request("transaction", (options) =>
      this.#etcd.kv.txn({ compare: [...compare], success: [...success], failure: [...failure] }, options),
    );
    return {
      succeeded: response.succeeded,
      revision: Number(response.header.revision),
      reads: response.responses.map(({ response_range }) => (response_range?.kvs ?? []).map(keyValue)),
    };
  }

  /** At most `limit` keys of a range in order, as of a revision or as of now. */
  async range(
    { start, end }: KeyRange,
    limit: number,
    revision = 0,
  ): Promise<{ readonly kvs: readonly KeyValue[]; readonly more: boolean }> {
    const response = await this.#request("range", (options) =>
      this.#etcd.kv.range({ key: Buffer.from(start), range_end: Buffer.from(end), limit, revision }, options),
    );
    return { kvs: response.kvs.map(keyValue), more: response.more };
  }

  /** Forgets the history before `revision`. */
  async compact(revision: number): Promise<void> {
    await this.#request("compaction", (options) => this.#etcd.kv.compact({ revision }, options));
  }

  /** A new lease: its id, and the milliseconds that etcd grants it. */
  async grant(seconds: number): Promise<{ readonly id: string; readonly ttl: number }> {
    const { ID, TTL } = await this.#request("lease grant", (options) =>
      this.#etcd.leaseClient.leaseGrant({ TTL: seconds }, options),
    );
    return { id: ID, ttl: Number(TTL) * 1000 };
  }

  /** Renews a lease; gives the milliseconds that it has from now on. */
  async renew(lease: string): Promise<number> {
    const answer = await this.#request("lease renewal", async (options) => {
      const stream = await this.#etcd.leaseClient.leaseKeepAlive(options);
      let silence: NodeJS.Timeout | undefined;
      try {
        return await new Promise<ILeaseKeepAliveResponse>((resolve, reject) => {
          stream.on("data", resolve);
          stream.on("error", reject);
          stream.on("end", () => reject(new EtcdFailure("unavailable", "lease renewal: the stream ended")));
          // A stream that failed while it was opened has said so already, and says nothing more.
          silence = setTimeout(() => reject(silent("lease renewal", this.timeout)), this.timeout);
          stream.write({ ID: lease });
        });
      } finally {
        clearTimeout(silence);
        stream.end();
      }
    });
    const ttl = Number(answer.TTL) * 1000;
    if (ttl <= 0) throw new EtcdFailure("lease-lost", `lease ${lease} has expired`);
    return ttl;
  }

  /** Ends a lease, and with it the keys that are under it. */
  async revoke(lease: string): Promise<void> {
    await this.#request("lease revocation", (options) =>
      this.#etcd.leaseClient.leaseRevoke({ ID: lease }, options),
    );
  }

  /**
   * Changes of a range from `revision` on, in order, until `signal` aborts; then it ends. Throws an `EtcdFailure` when the
   * stream breaks.
   */
  async *watch(
    { start, end }: KeyRange,
    revision: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Change[]> {
    if (signal.aborted) return;
    let stream: IDuplexStream<IWatchRequest, IWatchResponse> | undefined;
    let give: (error: Error) => void = () => undefined;
    /** Rejects when the stream is given up: one that failed while it was opened ends by no event. */
    const givenUp = new Promise<never>((_resolve, reject) => {
      give = reject;
    });
    givenUp.catch(() => undefined);
    const leave = () => {
      give(new EtcdFailure("unavailable", "watch: given up"));
      // Ended first: else the library takes the cancellation for a failure of the member.
      stream?.end();
      stream?.cancel();
    };
    signal.addEventListener("abort", leave, { once: true });
    const silence = setTimeout(() => give(silent("watch", this.timeout)), this.timeout);
    try {
      stream = await this.#etcd.watchClient.watch();
      // For the iterator's sake errors come as exceptions; a late one, after a cancellation, has no one to go to.
      stream.on("error", () => undefined);
      stream.write({
        create_request: {
          key: Buffer.from(start),
          range_end: Buffer.from(end),
          start_revision: revision,
          fragment: true,
        },
      });
      const responses = (stream as unknown as AsyncIterable<IWatchResponse>)[Symbol.asyncIterator]();
      for (;;) {
        const { done, value: response } = await Promise.race([responses.next(), givenUp]);
        if (done === true) throw new EtcdFailure("unavailable", "watch: the stream ended");
        // etcd answers the creation at once.
        clearTimeout(silence);
        if (response.canceled) {
          throw Number(response.compact_revision) > 0
            ? new EtcdFailure("compacted", `watch: the history before ${response.compact_revision} is gone`)
            : failureOf(new Error(response.cancel_reason || "14 UNAVAILABLE: canceled by etcd"), "watch");
        }
        if (response.events.length === 0) continue;
        yield response.events.map(({ type, kv }) => ({
          type: type === "Put" ? "put" : "delete",
          kv: keyValue(kv),
        }));
      }
    } catch (error) {
      if (!signal.aborted) throw failureOf(error, "watch");
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", leave);
      leave();
    }
  }

  /**
   * Repeats `attempt` while etcd is unavailable; only for what does no harm when it is done twice. Rejects with the last
   * failure after `deadline` milliseconds, and with any other failure at once.
   */
  async persistently<T>(deadline: number, attempt: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const end = performance.now() + deadline;
    /** What a member said, rather than that none is asked for the moment. */
    let told: EtcdFailure | undefined;
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        const isOver = performance.now() + PAUSE >= end || signal?.aborted === true;
        if (!(error instanceof EtcdFailure) || error.kind !== "unavailable") throw error;
        if (!isBrokenCircuitError(error.cause)) told = error;
        if (isOver) throw told ?? error;
      }
      await delay(PAUSE);
    }
  }

  async #request<T>(what: string, send: (options: { deadline: number }) => Promise<T>): Promise<T> {
    // A member that is down is not noticed as long as there are others: what was not sent to one goes to the next.
    for (let left = this.members; ; left--) {
      try {
        return await send({ deadline: Date.now() + this.timeout });
      } catch (error) {
        const failure = failureOf(error, what);
        if (failure.wasSent || left <= 1) throw failure;
      }
    }
  }
}

function silent(what: string, timeout: number): EtcdFailure {
  return new EtcdFailure("unavailable", `${what}: no answer within ${timeout} ms`);
}

function keyValue(kv: { key: Buffer; value: Buffer; mod_revision: string }): KeyValue {
  return { key: kv.key.toString("latin1"), value: kv.value, revision: Number(kv.mod_revision) };
}
