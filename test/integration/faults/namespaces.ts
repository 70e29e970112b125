/**
 * Network namespaces in which servers run: each has loopback and an address on a bridge, and packets from one to another are lost
 * where a test wants it. Bridge and namespaces are in a namespace of their own, which a program is started in
 * (`startInNamespace`): nothing outside changes or can connect, and the kernel removes everything with the last process.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { eventually } from "@drover/plugin-sdk/testing";

/** Network, mounts and process ids of its own; who is not root becomes it in a user namespace. */
const APART = [
  ...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]),
  ...["--net", "--mount-proc", "--pid", "--fork", "--kill-child"],
];
/** What is done in a namespace, tried out. */
const TRIAL =
  "ip link set lo up && ip link add drover0 type bridge && ip link add port1 type veth peer name port2 && nft list ruleset";
/** 198.18.0.0/15 is for tests of networks (RFC 2544). */
const SUBNET = "198.18.0";

/** Why there can be no namespaces here; undefined where there can. */
export function namespacesMissing(): string | undefined {
  const { error, status, stderr } = spawnSync("unshare", [...APART, "sh", "-c", TRIAL], { encoding: "utf8" });
  if (error !== undefined) return `network namespaces need unshare of util-linux: ${error.message}`;
  if (status === 0) return undefined;
  return `network namespaces need CAP_SYS_ADMIN and CAP_NET_ADMIN, iproute2 and nftables: ${stderr.trim()}`;
}

/** Runs a Node program in a namespace without anything but loopback; killing it ends every process in there. */
export function startInNamespace(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): ChildProcess {
  return spawn("unshare", [...APART, process.execPath, program, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

interface Namespace {
  readonly ip: string;
  /** Runs what follows it in the namespace. */
  readonly launcher: readonly [string, ...string[]];
  /** Keeps the namespace. */
  readonly keeper: ChildProcess;
}

/** Namespaces on one bridge, on which the calling process has an address too. */
export class Namespaces {
  readonly all: Namespace[] = [];
  /** Senders whose packets are lost, by receiver. */
  readonly #cuts = new Map<string, Set<string>>();

  /** Only in a namespace of the program's own: it makes a bridge where it is called. */
  static async create(count: number): Promise<Namespaces> {
    const namespaces = new Namespaces();
    ip("link set lo up");
    ip("link add drover0 type bridge");
    ip(`addr add ${SUBNET}.254/24 dev drover0`);
    ip("link set drover0 up");
    for (let at = 1; at <= count; at++) await namespaces.#add(at);
    return namespaces;
  }

  async #add(at: number): Promise<void> {
    const keeper = spawn("unshare", ["--net", "sleep", "infinity"], { stdio: "ignore" });
    await once(keeper, "spawn");
    const net = `/proc/${keeper.pid}/ns/net`;
    const own = readlinkSync("/proc/self/ns/net");
    await eventually("a network namespace", () => readlinkSync(net) !== own);
    const launcher = ["nsenter", `--net=${net}`] as const;
    const address = `${SUBNET}.${at}`;
    ip(`link add port${at} type veth peer name eth0 netns ${keeper.pid}`);
    ip(`link set port${at} master drover0 up`);
    for (const command of ["link set lo up", `addr add ${address}/24 dev eth0`, "link set eth0 up"])
      ip(command, launcher);
    this.all.push({ ip: address, launcher, keeper });
  }

  /** From now on packets of `from` to `to` are lost; those of the other direction arrive. */
  cut(from: string, to: string): void {
    const senders = this.#cuts.get(to) ?? new Set();
    this.#cuts.set(to, senders.add(from));
    this.#filter(to);
  }

  /** No packet is lost any more. */
  heal(): void {
    const receivers = [...this.#cuts.keys()];
    this.#cuts.clear();
    for (const receiver of receivers) this.#filter(receiver);
  }

  #filter(receiver: string): void {
    const { launcher } = this.all.find(({ ip }) => ip === receiver)!;
    const senders = [...(this.#cuts.get(receiver) ?? [])];
    const rules = [
      "flush ruleset",
      "add table inet cuts",
      "add chain inet cuts input { type filter hook input priority 0; policy accept; }",
      ...senders.map((sender) => `add rule inet cuts input ip saddr ${sender} drop`),
    ];
    // One transaction.
    execFileSync(launcher[0], [...launcher.slice(1), "nft", "-f", "-"], {
      input: `${rules.join("\n")}\n`,
      stdio: ["pipe", "ignore", "inherit"],
    });
  }

  /** Ends what keeps them. */
  remove(): void {
    for (const { keeper } of this.all) keeper.kill("SIGKILL");
  }
}

function ip(command: string, launcher: readonly string[] = []): void {
  const [file, ...args] = [...launcher, "ip", ...command.split(" ")] as [string, ...string[]];
  execFileSync(file, args, { stdio: ["ignore", "ignore", "inherit"] });
}
