import { ConfigError } from "./errors.js";
import { problemsOf } from "./problems.js";
import { fileSchema, type Settings } from "./schema.js";

/** Flags of `drover agent` as the command line gives them; each overrides the files. */
export interface AgentFlags {
  readonly region?: string;
  readonly dc?: string;
  readonly node?: string;
  readonly dataDir?: string;
  readonly bind?: string;
  readonly logLevel?: string;
  readonly logJson?: boolean;
  readonly logFile?: string;
  readonly pluginDir?: string;
  readonly server?: boolean;
  readonly bootstrapExpect?: string;
  readonly join?: readonly string[];
  readonly retryJoin?: readonly string[];
  readonly retryMax?: string;
  readonly retryInterval?: string;
  readonly client?: boolean;
  readonly servers?: string;
  readonly stateDir?: string;
  readonly allocDir?: string;
  readonly nodeClass?: string;
  readonly networkInterface?: string;
  readonly cpuTotalCompute?: string;
  /** `key=value`, each flag one or several with commas. */
  readonly meta?: readonly string[];
  readonly httpPort?: string;
  readonly rpcPort?: string;
}

const FLAG_OF_KEY: Readonly<Record<string, string>> = {
  datacenter: "-dc",
  name: "-node",
  bind_addr: "-bind",
  "ports.http": "-http-port",
  "ports.rpc": "-rpc-port",
};

/** Flags as settings. Throws `ConfigError` naming the flag. */
export function flagSettings(flags: AgentFlags): Settings {
  const meta = metaPairs(flags.meta ?? []);
  const raw = prune({
    region: flags.region,
    datacenter: flags.dc,
    name: flags.node,
    data_dir: flags.dataDir,
    bind_addr: flags.bind,
    log_level: flags.logLevel,
    log_json: flags.logJson,
    log_file: flags.logFile,
    plugin_dir: flags.pluginDir,
    ports: { http: flags.httpPort, rpc: flags.rpcPort },
    server: {
      enabled: flags.server,
      bootstrap_expect: flags.bootstrapExpect,
      server_join: {
        start_join: several(flags.join),
        retry_join: several(flags.retryJoin),
        retry_max: flags.retryMax,
        retry_interval: flags.retryInterval,
      },
    },
    client: {
      enabled: flags.client,
      servers: flags.servers?.split(",").filter((server) => server !== ""),
      state_dir: flags.stateDir,
      alloc_dir: flags.allocDir,
      node_class: flags.nodeClass,
      network_interface: flags.networkInterface,
      cpu_total_compute: flags.cpuTotalCompute,
      meta: Object.keys(meta).length > 0 ? meta : undefined,
    },
  });
  const checked = fileSchema.safeParse(raw);
  if (checked.success) return checked.data;
  throw new ConfigError(
    problemsOf(fileSchema, checked.error.issues).map(({ path, message }) => ({
      place: FLAG_OF_KEY[path.join(".")] ?? `-${String(path.at(-1)).replaceAll("_", "-")}`,
      message,
    })),
  );
}

/** The values of a flag that may be given several times, or undefined where it is not. */
function several(values: readonly string[] | undefined): readonly string[] | undefined {
  return values === undefined || values.length === 0 ? undefined : values;
}

function metaPairs(values: readonly string[]): Record<string, string> {
  const pairs = values
    .flatMap((value) => value.split(","))
    .map((pair) => {
      const equals = pair.indexOf("=");
      if (equals <= 0)
        throw new ConfigError([{ place: "-meta", message: `"${pair}" is not of the form key=value` }]);
      return [pair.slice(0, equals), pair.slice(equals + 1)] as const;
    });
  return Object.fromEntries(pairs);
}

/** Without undefined values and without the blocks that are empty then. */
function prune(value: object): Record<string, unknown> {
  const entries = Object.entries(value).flatMap(([key, item]): [string, unknown][] => {
    if (item === undefined) return [];
    if (typeof item !== "object" || Array.isArray(item)) return [[key, item]];
    const inner = prune(item);
    return Object.keys(inner).length === 0 ? [] : [[key, inner]];
  });
  return Object.fromEntries(entries);
}
