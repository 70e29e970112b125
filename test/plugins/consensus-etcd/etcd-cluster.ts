import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@drover/plugin-sdk/testing";
import { Etcd3 } from "etcd3";
import { freePorts } from "../../integration/process.js";

/** PEM files of the authority, and of a certificate of it for 127.0.0.1. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

interface Member {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
  readonly folder: string;
  process?: ChildProcess;
}

/** A real etcd of one or three members on loopback. */
export class EtcdCluster {
  readonly #members: Member[];

  private constructor(
    private readonly folder: string,
    members: Member[],
    private readonly extra: readonly string[],
    private readonly tls: TlsFiles | undefined,
  ) {
    this.#members = members;
  }

  /** Starts it and waits until it answers. */
  static async start(size: 1 | 3 = 3, extra: readonly string[] = [], tls?: TlsFiles): Promise<EtcdCluster> {
    const folder = await mkdtemp(join(tmpdir(), "drover-etcd-"));
    const ports = await freePorts(2 * size);
    const members = Array.from({ length: size }, (_, number): Member => {
      const name = `m${number}`;
      return {
        name,
        client: `${tls === undefined ? "http" : "https"}://127.0.0.1:${ports[2 * number]}`,
        peer: `http://127.0.0.1:${ports[2 * number + 1]}`,
        folder: join(folder, name),
      };
    });
    const cluster = new EtcdCluster(folder, members, extra, tls);
    for (const member of members) cluster.#spawn(member);
    await cluster.answers();
    return cluster;
  }

  get endpoints(): string[] {
    return this.#members.map(({ client }) => client);
  }

  /** A client of the library's own, for a look at what is stored. */
  client(): Etcd3 {
    const { tls } = this;
    if (tls === undefined) return new Etcd3({ hosts: this.endpoints });
    const [rootCertificate, certChain, privateKey] = [tls.ca, tls.cert, tls.key].map((file) =>
      readFileSync(file),
    );
    return new Etcd3({
      hosts: this.endpoints,
      credentials: { rootCertificate: rootCertificate!, certChain: certChain!, privateKey: privateKey! },
    });
  }

  async answers(): Promise<void> {
    const client = this.client();
    try {
      await eventually("etcd answers", async () => {
        await client.put("ready").value("yes");
        return true;
      });
    } finally {
      client.close();
    }
  }

  /** Number of the member that leads etcd itself. */
  async leader(): Promise<number> {
    for (const [number, { client }] of this.#members.entries()) {
      const one = new Etcd3({ hosts: client });
      try {
        const status = await one.maintenance.status();
        if (status.leader === status.header.member_id) return number;
      } finally {
        one.close();
      }
    }
    throw new Error("etcd has no leader");
  }

  async kill(number: number): Promise<void> {
    const child = this.#members[number]!.process!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    // A stopped process can be killed, too.
    child.kill("SIGKILL");
    await ended;
  }

  async killAll(): Promise<void> {
    await Promise.all(this.#members.map((_, number) => this.kill(number)));
  }

  signal(number: number, signal: NodeJS.Signals): void {
    this.#members[number]!.process!.kill(signal);
  }

  restart(number: number): void {
    this.#spawn(this.#members[number]!);
  }

  /** Forgets everything: the members begin anew under the same addresses. */
  async wipe(): Promise<void> {
    await this.killAll();
    for (const member of this.#members) await rm(member.folder, { recursive: true, force: true });
    for (const member of this.#members) this.#spawn(member);
    await this.answers();
  }

  async destroy(): Promise<void> {
    await this.killAll();
    await rm(this.folder, { recursive: true, force: true });
  }

  #spawn(member: Member): void {
    const child = spawn(
      "etcd",
      [
        `--name=${member.name}`,
        `--data-dir=${member.folder}`,
        `--listen-client-urls=${member.client}`,
        `--advertise-client-urls=${member.client}`,
        `--listen-peer-urls=${member.peer}`,
        `--initial-advertise-peer-urls=${member.peer}`,
        `--initial-cluster=${this.#members.map(({ name, peer }) => `${name}=${peer}`).join(",")}`,
        "--initial-cluster-state=new",
        "--log-level=error",
        ...this.extra,
        ...(this.tls === undefined
          ? []
          : [
              `--cert-file=${this.tls.cert}`,
              `--key-file=${this.tls.key}`,
              `--trusted-ca-file=${this.tls.ca}`,
              "--client-cert-auth",
            ]),
      ],
      { stdio: "ignore", env: { PATH: process.env.PATH ?? "" } },
    );
    child.on("error", (error) => {
      throw new Error("etcd can't be started; install Debian's etcd-server", { cause: error });
    });
    // Also when the test runner is ended in the middle.
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    child.once("exit", () => process.off("exit", end));
    member.process = child;
  }
}
