/** One outgoing HTTP/2 session: opened, kept alive, closed when idle. */
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { RpcError } from "@drover/plugin-sdk";
import type { Dialled } from "./transport.js";
import { LIMITS, SESSION_MEMORY, SETTINGS } from "./wire.js";

/** Milliseconds. */
export interface SessionTimes {
  /** Between pings; a ping that is not answered within as much ends the session. */
  readonly ping: number;
  /** Without any call before the session is closed. */
  readonly idle: number;
}

export class PeerSession {
  /** Of the streams under way, those that are `stream`s. */
  openStreams = 0;
  underWay = 0;
  #lastUse = performance.now();
  #retired = false;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly address: string,
    readonly http2: ClientHttp2Session,
    times: SessionTimes,
    onClose: (session: PeerSession) => void,
  ) {
    this.#timer = setInterval(() => this.#check(times), times.ping);
    this.#timer.unref();
    http2.once("goaway", () => {
      this.#retired = true;
    });
    http2.once("close", () => {
      clearInterval(this.#timer);
      onClose(this);
    });
  }

  /** Resolves when the other end has shown that it speaks HTTP/2. Rejects with an `RpcError`. */
  static open(
    address: string,
    { socket, refusal }: Dialled,
    times: SessionTimes,
    timeout: number,
    onClose: (session: PeerSession) => void,
  ): Promise<PeerSession> {
    return new Promise((resolve, reject) => {
      const http2 = connect(`http://${address}`, {
        createConnection: () => socket,
        settings: SETTINGS,
        maxSessionMemory: SESSION_MEMORY,
      });
      const fail = (code: "ERR_RPC_UNREACHABLE" | "ERR_RPC_REFUSED", why: string, cause?: Error) => {
        clearTimeout(timer);
        http2.destroy();
        reject(new RpcError(code, `no connection to ${address}: ${why}`, { cause }));
      };
      const timer = setTimeout(
        () => fail("ERR_RPC_UNREACHABLE", `what listens there said nothing within ${timeout} ms`),
        timeout,
      );
      // Stays: an error of an open session is told by its streams, one by one.
      http2.on("error", (error) =>
        fail("ERR_RPC_UNREACHABLE", `what listens there does not speak HTTP/2 (${error.message})`, error),
      );
      const closed = () =>
        fail(
          "ERR_RPC_UNREACHABLE",
          "what listens there closed the connection (is it a server, and of the same tls.rpc?)",
        );
      http2.once("close", closed);
      http2.once("remoteSettings", () => {
        if (refusal !== undefined) {
          http2.goaway(constants.NGHTTP2_INADEQUATE_SECURITY, 0, Buffer.from(refusal));
          http2.off("close", closed);
          // After the frame is out.
          http2.close(() => undefined);
          fail("ERR_RPC_REFUSED", refusal);
          return;
        }
        clearTimeout(timer);
        http2.off("close", closed);
        http2.setLocalWindowSize(LIMITS.sessionWindow);
        resolve(new PeerSession(address, http2, times, onClose));
      });
    });
  }

  get usable(): boolean {
    return !this.#retired && !this.http2.closed && !this.http2.destroyed;
  }

  touch(): void {
    this.#lastUse = performance.now();
  }

  /** No further calls; closed when those under way are over. */
  retire(): void {
    this.#retired = true;
    if (!this.http2.destroyed) this.http2.close();
  }

  destroy(): void {
    this.http2.destroy();
  }

  #check(times: SessionTimes): void {
    if (this.underWay === 0 && performance.now() - this.#lastUse >= times.idle) {
      this.retire();
      return;
    }
    if (this.http2.destroyed) return;
    let answered = false;
    // Looked at after the sockets were read: a process that stood still must not take its own pause for the other's silence.
    const lost = setTimeout(
      () => setImmediate(() => (answered ? undefined : this.http2.destroy())),
      times.ping,
    );
    lost.unref();
    this.http2.ping((error) => {
      answered = true;
      clearTimeout(lost);
      if (error !== null) this.http2.destroy();
    });
  }
}
