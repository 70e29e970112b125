import { z } from "zod";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const count = (fallback: number, minimum = 1) => z.int().min(minimum).default(fallback);

const endpoint = z
  .string()
  .regex(
    /^https?:\/\/(\[[0-9a-fA-F:.]+\]|[^/:\s[\]]+):\d{1,5}$/,
    "must be http://HOST:PORT or https://HOST:PORT",
  );

/** The operator's `plugin "consensus-etcd" { config { … } }` block. Durations are milliseconds, sizes are bytes. */
export const EtcdConfig = z
  .strictObject({
    /** Client URLs of etcd's members: all of them, so that the loss of one is not noticed. */
    endpoints: z.array(endpoint).min(1).max(32).default(["http://127.0.0.1:2379"]),
    /** First part of every key; the region follows. Several clusters of one region need one each. */
    prefix: z
      .string()
      .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 printable ASCII characters")
      .default("/drover"),
    /** Of etcd's own user management. */
    username: z.string().min(1).optional(),
    password: z.string().optional(),
    /** PEM files; endpoints are https then. */
    ca_file: z.string().min(1).optional(),
    cert_file: z.string().min(1).optional(),
    key_file: z.string().min(1).optional(),
    /** How long a leader that is not heard of keeps its place; whole seconds. */
    lease_ttl: z.int().min(2000).max(60_000).multipleOf(1000).default(2000),
    /** How long a start waits for an etcd that does not answer. */
    start_timeout: count(15_000, 100),
    /** How long one request to a member may take before another one is asked. */
    request_timeout: count(1000, 100),
    /** Bytes of commands put into one transaction; larger commands are cut. Stay well below etcd's --max-request-bytes. */
    max_batch_bytes: z
      .int()
      .min(4 * KIBIBYTE)
      .max(64 * MEBIBYTE)
      .default(MEBIBYTE),
    /** Commands put into one transaction. */
    max_batch_entries: count(4096),
    /** Largest command. */
    max_command_bytes: count(8 * MEBIBYTE),
    /** Proposals under way; more are refused with ERR_CONSENSUS_BUSY. */
    max_inflight: count(8192),
    /** Bytes of proposals under way. */
    max_inflight_bytes: count(64 * MEBIBYTE),
    /** Applied entries after which a snapshot is taken. */
    snapshot_threshold: count(8192),
    /** Applied bytes after which a snapshot is taken, however short ago the last one was. */
    snapshot_bytes: count(64 * MEBIBYTE),
    /** Least time between two snapshots that are taken for their number of entries. */
    snapshot_interval: count(120_000, 0),
    /** Entries kept in etcd before a snapshot, for servers that are a little behind. */
    trailing_logs: count(10_240, 0),
    /** Bytes kept before a snapshot at most. */
    trailing_bytes: count(16 * MEBIBYTE, 0),
    /** Whether etcd's history is compacted when the log is; turn off where something else does that, or needs the history. */
    compact_history: z.boolean().default(true),
  })
  .superRefine((config, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    const secure = config.endpoints.filter((one) => one.startsWith("https:")).length;
    if (secure !== 0 && secure !== config.endpoints.length) {
      refuse("endpoints", "must be all http or all https");
    }
    for (const key of ["ca_file", "cert_file", "key_file"] as const) {
      if (config[key] !== undefined && secure === 0) refuse(key, "needs https endpoints");
    }
    if (secure !== 0 && config.ca_file === undefined) {
      refuse(
        "ca_file",
        "is needed with https endpoints: the PEM file of the authority that signed their certificates",
      );
    }
    if ((config.cert_file === undefined) !== (config.key_file === undefined)) {
      refuse(config.cert_file === undefined ? "cert_file" : "key_file", "cert_file and key_file go together");
    }
    if ((config.username === undefined) !== (config.password === undefined)) {
      refuse(config.username === undefined ? "username" : "password", "username and password go together");
    }
  });
export type EtcdConfig = z.output<typeof EtcdConfig>;
