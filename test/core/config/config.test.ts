import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { DEFAULT_AUTOPILOT_SETTINGS } from "@drover/plugin-sdk";
import type { AgentFlags, ConfigError, LoadedConfig } from "../../../core/config/index.js";
import { enabledSchedulers, loadConfig, lockDataDir } from "../../../core/config/index.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-config-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/** Loads files (and flags) as a server with a data folder. */
function load(paths: readonly string[], flags: AgentFlags = {}): Promise<LoadedConfig> {
  const base = { server: true, bootstrapExpect: "1", dataDir: join(folder, "data"), bind: "127.0.0.1" };
  return loadConfig({ dev: false, paths, flags: { ...base, ...flags } });
}

/** Lines of the error that loading gives, with the folder's name taken out. */
async function problems(paths: readonly string[], flags?: AgentFlags): Promise<string[]> {
  const error = (await load(paths, flags).then(
    () => assert.fail("the configuration was taken"),
    (thrown: unknown) => thrown,
  )) as ConfigError;
  assert.equal(error.name, "ConfigError", error.stack);
  return error.message.replaceAll(`${folder}/`, "").split("\n");
}

test("HCL and JSON files are read in Nomad's format, durations in milliseconds", async () => {
  const { config } = await load([
    await file(
      "agent.hcl",
      `
      region = "europe"
      ports { http = 5646 }
      client {
        enabled          = "true"
        max_kill_timeout = "1m30s"
        meta { rack = "r1" }
        host_volume "certs" {
          path      = "/etc/ssl"
          read_only = true
        }
      }
      plugin "mqtt" {
        config {
          broker { listen = "127.0.0.1:0" }
        }
      }`,
    ),
    await file("more.json", '{"datacenter": "dc9", "server": {"heartbeat_grace": "30s"}}'),
  ]);
  assert.equal(config.region, "europe");
  assert.equal(config.datacenter, "dc9");
  assert.deepEqual(config.ports, { http: 5646, rpc: 4647, serf: 4648 });
  assert.equal(config.client.max_kill_timeout, 90_000);
  assert.deepEqual(config.client.meta, { rack: "r1" });
  assert.deepEqual(config.client.host_volumes, { certs: { path: "/etc/ssl", read_only: true } });
  assert.equal(config.server.heartbeat_grace, 30_000);
  assert.deepEqual(config.plugins.mqtt?.config, { broker: [{ listen: "127.0.0.1:0" }] });
  assert.equal(config.advertise.http, "127.0.0.1:5646");
});

test("scheduler blocks add up over files; what they don't know is an error with its place", async () => {
  const { config } = await load([
    await file(
      "rules.hcl",
      'scheduler "service" {\n  scorers  = ["carbon=2"]\n  deadline = "10s"\n  namespace "lab" {\n    filters = ["window"]\n  }\n}\n',
    ),
    await file(
      "more-rules.hcl",
      'scheduler "service" {\n  scorers = ["load"]\n}\nscheduler "*" {\n  filters = ["x"]\n}\n',
    ),
  ]);
  assert.deepEqual(config.schedulers, {
    service: {
      filters: [],
      scorers: ["carbon=2", "load"],
      deadline: 10_000,
      namespaces: { lab: { filters: ["window"], scorers: [] } },
    },
    "*": { filters: ["x"], scorers: [], namespaces: {} },
  });
  assert.deepEqual(
    await problems([await file("wrong-rules.hcl", 'scheduler "service" {\n  scorrers = ["carbon"]\n}\n')]),
    ['wrong-rules.hcl:2: scheduler.service.scorrers: unknown key; did you mean "scorers"?'],
  );
});

test("files merge in order as Nomad documents: values replace, empty ones don't, lists append, maps merge", async () => {
  const conf = join(folder, "conf.d");
  await mkdir(conf);
  await file(
    "conf.d/20.json",
    '{"name": "later", "client": {"servers": ["c"], "meta": {"y": "2"}}, "leave_on_interrupt": false}',
  );
  await file(
    "conf.d/10.hcl",
    'name = "earlier"\nleave_on_interrupt = true\nclient {\n servers = ["a", "b"]\n meta { x = "1" }\n}\nplugin "p" {\n source = "./p.js"\n config { one = 1 }\n}',
  );
  await file("conf.d/notes.txt", "not read");
  const last = await file("last.hcl", 'server { num_schedulers = 0 }\nplugin "p" {\n config { two = 2 }\n}');
  const { config } = await load([conf, last], { node: "flagged" });
  assert.equal(config.name, "flagged");
  assert.equal(config.leave_on_interrupt, true);
  assert.deepEqual(config.client.servers, ["a", "b", "c"]);
  assert.deepEqual(config.client.meta, { x: "1", y: "2" });
  assert.equal(config.server.num_schedulers, 0);
  assert.deepEqual(
    config.plugins.p,
    { enabled: true, args: [], config: { two: 2 } },
    "a plugin block replaces",
  );
  assert.deepEqual(
    config.files.map((path) => path.slice(folder.length + 1)),
    ["conf.d/10.hcl", "conf.d/20.json", "last.hcl"],
  );
});

test("unknown keys and wrong types are errors with file, line and the nearest known key, all at once", async () => {
  const found = await problems([
    await file(
      "a.hcl",
      'regoin = "x"\n\nserver {\n  enabled = "maybe"\n\n  heartbeat_grace = "10 seconds"\n  bootstrap_expekt = 1\n}\n',
    ),
    await file(
      "b.json",
      '{\n  "ports": {\n    "http": 70000\n  },\n  "plugin": [{"mqtt": [{"confg": {}}]}]\n}',
    ),
  ]);
  assert.deepEqual(found.sort(), [
    'a.hcl:1: regoin: unknown key; did you mean "region"?',
    "a.hcl:4: server.enabled: must be true or false, not a string",
    'a.hcl:6: server.heartbeat_grace: "10 seconds" is not a duration: write for example "30s", "5m" or "1h30m"',
    'a.hcl:7: server.bootstrap_expekt: unknown key; did you mean "bootstrap_expect"?',
    "b.json:3: ports.http: must be between 0 and 65535",
    'b.json:5: plugin.mqtt.confg: unknown key; did you mean "config"?',
  ]);
});

test("a file that does not parse is an error with file, line and column; one that is not there too", async () => {
  const found = await problems([
    await file("broken.hcl", "server {\n  enabled = \n}\n"),
    join(folder, "none.hcl"),
  ]);
  assert.match(found.join("\n"), /broken\.hcl:2:\d+: /);
  assert.match(found.join("\n"), /none\.hcl: no such file or folder/);
});

test("a plugin's key is found in the file whose block counts", async () => {
  const { locatePlugin } = await load([
    await file("1.hcl", 'plugin "mqtt" {\n  config { listen = 1 }\n}\n'),
    await file("2.hcl", '\nplugin "mqtt" {\n  config {\n    broker {\n      listen = 2\n    }\n  }\n}\n'),
  ]);
  assert.equal(locatePlugin("mqtt", ["broker", "listen"]), join(folder, "2.hcl:5"));
  assert.equal(locatePlugin("other", ["x"]), undefined);
});

test("Nomad's keys that change nothing yet are accepted and named; those that would protect apart", async () => {
  const { unused, unprotected } = await load([
    await file(
      "a.hcl",
      'acl { enabled = true }\naudit { enabled = false }\nconsul { address = "127.0.0.1:8500" }\nserver { raft_multiplier = 1 }\n',
    ),
  ]);
  assert.deepEqual([...unused].sort(), ["audit", "consul", "server.raft_multiplier"]);
  assert.deepEqual(unprotected, ["acl.enabled"]);
});

test("what is wrong as a whole is said in one go", async () => {
  assert.deepEqual(
    await problems([await file("a.hcl", 'region = "a/b"\nplugin_trust { publishers = ["x"] }\n')], {
      dataDir: "rel",
      bootstrapExpect: "0",
    }),
    [
      "server.bootstrap_expect (or -bootstrap-expect) must be set: 1 for a single server; a server that joins a cluster needs server_join (or -retry-join) instead",
      'region "a/b" must not contain blanks, "/", "+" or "#"',
      'plugin_trust.publishers: "x" is not a publisher key: base64 of a 32-byte Ed25519 public key is needed',
      `data_dir must be given as an absolute path: got rel (perhaps ${process.cwd()}/rel)`,
    ],
  );
  const bare = await loadConfig({ dev: false, paths: [], flags: { bind: "127.0.0.1" } }).catch(
    (error: unknown) => error,
  );
  assert.match(
    String(bare),
    /Must specify either server, client or dev mode for the agent\.\nMust specify "data_dir"/,
  );
});

test("servers to join come from server_join, from the older keys, and from flags", async () => {
  const block = await file(
    "block.hcl",
    'server {\n  server_join {\n    retry_join = ["a:1"]\n    retry_max = 3\n    retry_interval = "15s"\n  }\n}\n',
  );
  const older = await file("older.hcl", 'server {\n  start_join = ["a", "[::1]:4647"]\n  retry_max = 2\n}\n');
  const joins = async (paths: readonly string[], flags?: AgentFlags) =>
    (await load(paths, flags)).config.server.server_join;
  assert.deepEqual(await joins([block], { retryJoin: ["b"], retryInterval: "1m" }), {
    start_join: [],
    retry_join: ["a:1", "b"],
    retry_max: 3,
    retry_interval: 60_000,
  });
  assert.deepEqual(await joins([older]), {
    start_join: ["a", "[::1]:4647"],
    retry_join: [],
    retry_max: 2,
    retry_interval: 30_000,
  });
  const { config } = await load([], { bootstrapExpect: "0", join: ["a"] });
  assert.equal(config.server.bootstrap_expect, 0, "a server that joins need not begin a cluster");
  assert.deepEqual((await load([block])).unused, []);
});

test("servers that can't be joined are refused by name", async () => {
  const mixed = await file(
    "mixed.hcl",
    'server {\n  retry_max = 1\n  server_join {\n    retry_join = ["a:b:c", "provider=aws tag_key=x", "h:0"]\n  }\n}\n',
  );
  assert.deepEqual(await problems([mixed]), [
    "server.server_join and server.retry_max can't both be set: keep the block server_join (the flags -join, -retry-join, -retry-max and -retry-interval count as it)",
    'server.retry_join: "a:b:c" is no address: write host or host:port',
    'server.retry_join: "provider=aws tag_key=x" asks a cloud: that is done by plugins that provide ServerDiscovery',
    'server.retry_join: "h:0" is no address: write host or host:port',
  ]);
  assert.deepEqual(await problems([], { retryInterval: "soon" }), [
    '-retry-interval: "soon" is not a duration: write for example "30s", "5m" or "1h30m"',
  ]);
});

test("the block autopilot has Nomad's defaults, and those keys that do nothing are named", async () => {
  const { config } = await load([]);
  assert.deepEqual(config.autopilot, DEFAULT_AUTOPILOT_SETTINGS);
  const set = await load([
    await file(
      "a.hcl",
      'autopilot {\n  cleanup_dead_servers = false\n  last_contact_threshold = "1500ms"\n  max_trailing_logs = 10\n  min_quorum = 3\n  server_stabilization_time = "1m"\n  enable_redundancy_zones = true\n}\n',
    ),
  ]);
  assert.deepEqual(set.config.autopilot, {
    ...DEFAULT_AUTOPILOT_SETTINGS,
    CleanupDeadServers: false,
    EnableRedundancyZones: true,
    LastContactThreshold: "1.5s",
    MaxTrailingLogs: 10,
    MinQuorum: 3,
    ServerStabilizationTime: "1m0s",
  });
  assert.deepEqual(set.unused, ["autopilot.enable_redundancy_zones"]);
});

test("a wrong flag is an error that names the flag", async () => {
  assert.deepEqual(await problems([], { logLevel: "loud", httpPort: "x" }), [
    '-log-level: must be one of TRACE, DEBUG, INFO, WARN, ERROR, not "loud"',
    "-http-port: must be a port number, not a string",
  ]);
  assert.deepEqual(await problems([], { meta: ["a=1,b"] }), ['-meta: "b" is not of the form key=value']);
});

test("-dev needs no file: server and client on the loopback interface with a temporary folder", async () => {
  const loaded = await loadConfig({ dev: true, paths: [], flags: {} });
  try {
    const { config, temporaryDir } = loaded;
    assert.equal(config.data_dir, temporaryDir);
    assert.ok(config.server.enabled && config.client.enabled);
    assert.equal(config.bind_addr, "127.0.0.1");
    assert.equal(config.client.options["driver.raw_exec.enable"], "true");
    assert.deepEqual(config.advertise, {
      http: "127.0.0.1:4646",
      rpc: "127.0.0.1:4647",
      serf: "127.0.0.1:4648",
    });
  } finally {
    await rm(loaded.temporaryDir!, { recursive: true, force: true });
  }
});

test("a data folder is made private; one that can't be is a clear error", async () => {
  const { config } = await load([]);
  assert.equal((await stat(config.data_dir)).mode & 0o777, 0o700);
  await file("plain", "");
  const [line] = await problems([], { dataDir: join(folder, "plain") });
  assert.equal(line, "data_dir plain can't be used: it, or a part of its path, is a file and not a folder");
});

test("a data folder is held by one agent; a lock left by a killed one is taken over", async () => {
  const release = await lockDataDir(folder);
  await assert.rejects(
    lockDataDir(folder),
    new RegExp(`is in use by the agent with process id ${process.pid}`),
  );
  await release();
  await file("agent.lock", '{"pid":1,"started":"somewhen"}');
  await (await lockDataDir(folder))();
  await file("agent.lock", "cut o");
  await (await lockDataDir(folder))();
});

test("garbage collection and scheduler settings have Nomad's defaults, and are shown as they were set", async () => {
  const byDefault = await load([]);
  const { eval_gc_threshold, job_gc_threshold, node_gc_threshold, deployment_gc_threshold, job_gc_interval } =
    byDefault.config.server;
  assert.deepEqual(
    [eval_gc_threshold, job_gc_threshold, node_gc_threshold, deployment_gc_threshold, job_gc_interval],
    [3_600_000, 14_400_000, 86_400_000, 3_600_000, 300_000],
  );
  const selfOf = ({ selfConfig }: LoadedConfig) => (selfConfig as { Server: Record<string, unknown> }).Server;
  assert.equal(selfOf(byDefault).EvalGCThreshold, "");
  assert.equal(selfOf(byDefault).DefaultSchedulerConfig, null);

  const set = await load([
    await file(
      "gc.hcl",
      `server {
        eval_gc_threshold = "10m"
        default_scheduler_config {
          scheduler_algorithm     = "spread"
          reject_job_registration = true
          preemption_config {
            sysbatch_scheduler_enabled = true
          }
        }
      }`,
    ),
  ]);
  assert.equal(set.config.server.eval_gc_threshold, 600_000);
  assert.equal(selfOf(set).EvalGCThreshold, "10m0s");
  const expected = {
    SchedulerAlgorithm: "spread",
    MemoryOversubscriptionEnabled: false,
    RejectJobRegistration: true,
    PauseEvalBroker: false,
    PreemptionConfig: {
      BatchSchedulerEnabled: false,
      ServiceSchedulerEnabled: false,
      SysBatchSchedulerEnabled: true,
      SystemSchedulerEnabled: true,
    },
  };
  assert.deepEqual(set.config.server.default_scheduler_config, expected);
  assert.deepEqual(selfOf(set).DefaultSchedulerConfig, expected);
  assert.match(
    (
      await problems([
        await file(
          "bad.hcl",
          'server {\n  default_scheduler_config {\n    scheduler_algorithm = "best"\n  }\n}\n',
        ),
      ])
    ).join(),
    /bad\.hcl:3: server\.default_scheduler_config\.scheduler_algorithm: must be one of binpack, spread/,
  );
});

test("enabled schedulers are those that there are, with _core among them", async () => {
  const known = ["service", "batch", "system"];
  const enabled = async (text: string) =>
    enabledSchedulers(await load([await file("schedulers.hcl", text)]), known);
  assert.deepEqual(await enabled(""), known);
  assert.deepEqual(await enabled('server { enabled_schedulers = ["_core", "system"] }'), ["system"]);
  const wrong = async (text: string) =>
    enabled(text).then(
      () => assert.fail("the list was taken"),
      (error: Error) => error.message.replaceAll(`${folder}/`, "").split("\n"),
    );
  assert.deepEqual(await wrong('server {\n  enabled_schedulers = ["batch", "sytem"]\n}\n'), [
    'schedulers.hcl:2: server.enabled_schedulers: there is no scheduler "sytem"; there are "service", "batch", "system", "_core"',
    'schedulers.hcl:2: server.enabled_schedulers: "_core" is missing from the list: it collects what is over, and nothing else does',
  ]);
});

test("agent/self has Nomad's names and no secret", async () => {
  const { selfConfig } = await load([
    await file(
      "a.hcl",
      'vault { token = "s3cret" }\nconsul { token = "s3cret" }\nacl { replication_token = "s3cret" }\nplugin "mqtt" {\n config {\n  pass = "s3cret"\n }\n}\n',
    ),
  ]);
  const self = selfConfig as {
    Vault: { Token: string };
    Ports: object;
    Autopilot: { LastContactThreshold: number };
  };
  assert.doesNotMatch(JSON.stringify(selfConfig), /s3cret/);
  assert.equal(self.Vault.Token, "<redacted>");
  assert.deepEqual(self.Ports, { HTTP: 4646, RPC: 4647, Serf: 4648 });
  assert.equal(self.Autopilot.LastContactThreshold, 200_000_000);
});

test("agent/self shows the scheduler blocks", async () => {
  const { selfConfig } = await load([
    await file(
      "schedulers-self.hcl",
      `scheduler "*" {
  scorers = ["carbon=2"]
}
scheduler "batch" {
  filters  = ["window"]
  deadline = "3s"
  namespace "night" {
    scorers = ["quiet"]
  }
}
`,
    ),
  ]);
  assert.deepEqual((selfConfig as { Schedulers: unknown }).Schedulers, [
    { Type: "*", Filters: null, Scorers: ["carbon=2"], Deadline: 0, Namespaces: null },
    {
      Type: "batch",
      Filters: ["window"],
      Scorers: null,
      Deadline: 3_000_000_000,
      Namespaces: [{ Name: "night", Filters: null, Scorers: ["quiet"] }],
    },
  ]);
  const { selfConfig: without } = await load([await file("no-schedulers.hcl", "")]);
  assert.equal((without as { Schedulers: unknown }).Schedulers, null);
});

test("a server among others must advertise an address that they can reach", async () => {
  for (const [address, reason] of [
    ["0.0.0.0", /at 0\.0\.0\.0:4647: it stands for any address/],
    ["[::]:4000", /at \[::\]:4000: it stands for any address/],
    ["::", /at \[::\]:4647: it stands for any address/],
    ["239.1.2.3", /it is a multicast address/],
    ["[ff02::1]:4647", /it is a multicast address/],
  ] as const) {
    const text = `advertise { rpc = "${address}" }\nserver { retry_join = ["10.0.0.2"] }\n`;
    const [said] = await problems([await file("a.hcl", text)]);
    assert.match(said!, reason);
    assert.match(said!, /^advertise\.rpc: other servers can't reach this one/);
  }
  const good = 'advertise { rpc = "10.0.0.1" }\nserver { retry_join = ["10.0.0.2"] }\n';
  assert.equal((await load([await file("a.hcl", good)])).config.advertise.rpc, "10.0.0.1:4647");
});

test("the tls block has Nomad's defaults and refuses a version that is none", async () => {
  const { config, unused, unprotected } = await load([
    await file("a.hcl", 'tls {\n  rpc = true\n  ca_file = "ca.pem"\n  tls_min_version = "tls13"\n}\n'),
  ]);
  const { rpc, http, ca_file, tls_min_version, verify_server_hostname } = config.tls;
  assert.deepEqual(
    { rpc, http, ca_file, tls_min_version, verify_server_hostname },
    { rpc: true, http: false, ca_file: "ca.pem", tls_min_version: "tls13", verify_server_hostname: false },
  );
  assert.deepEqual([...unused, ...unprotected], []);
  const wrong = await file("b.hcl", 'tls { tls_min_version = "ssl3" }\n');
  assert.match((await problems([wrong]))[0]!, /must be one of tls10, tls11, tls12, tls13, not "ssl3"/);
});
