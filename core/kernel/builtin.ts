/** What ships with Drover: the one table of built-in plugins. */
export interface BuiltinPlugin {
  readonly name: string;
  /** Other labels of its `plugin` block, for files written for Nomad. */
  readonly aliases: readonly string[];
  /** Roles of an agent that load it unless `plugin "NAME" { enabled = false }` says no. */
  readonly roles: readonly ("server" | "client")[];
  /** Names of the tokens it provides, to name it where one is missing. */
  readonly provides: readonly string[];
  /** `scheduler`: loaded by the threads of the scheduling pool, never started on the main thread. */
  readonly runsIn: "main" | "scheduler";
}

const main = (
  name: string,
  roles: BuiltinPlugin["roles"],
  provides: readonly string[],
  aliases: readonly string[] = [],
) => ({ name, aliases, roles, provides, runsIn: "main" }) as const;
const scheduler = (name: string) =>
  ({ name, aliases: [], roles: ["server"], provides: ["Scheduler"], runsIn: "scheduler" }) as const;

export const builtinPlugins: readonly BuiltinPlugin[] = [
  main("consensus-raft", ["server"], ["Consensus"]),
  // In the place of consensus-raft where the configuration names it.
  main("consensus-etcd", [], ["Consensus"]),
  main("mqtt", ["server", "client"], ["AgentTransport", "AgentLink"]),
  scheduler("scheduler-service"),
  scheduler("scheduler-batch"),
  scheduler("scheduler-system"),
  scheduler("scheduler-sysbatch"),
  main("driver-raw-exec", ["client"], ["TaskDriver"], ["raw_exec"]),
  main("client-agent", ["client"], ["ClientStatus"]),
  main("http-api", ["server", "client"], []),
];

/** A built-in by its name or an alias. */
export function findBuiltin(label: string): BuiltinPlugin | undefined {
  return builtinPlugins.find(({ name, aliases }) => name === label || aliases.includes(label));
}

/** Every label a `plugin` block of a built-in may have. */
export function builtinLabels(): string[] {
  return builtinPlugins.flatMap(({ name, aliases }) => [name, ...aliases]);
}

/** URL of a built-in's module. Computed, because the core must not import a plugin. */
export function builtinModule(name: string): URL {
  return new URL(`../../plugins/${name}/plugin.js`, import.meta.url);
}

/** Whether a module is one of a built-in plugin. */
export function isBuiltinModule(url: string): boolean {
  return url.startsWith(new URL("../../plugins/", import.meta.url).href);
}
