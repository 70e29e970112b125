/**
 * Every key of Nomad 1.1's agent configuration (https://developer.hashicorp.com/nomad/docs/v1.1.x/configuration), and
 * Drover's own: `source` of a `plugin` block, `plugin_trust`, `scheduler`, `eval_nack_timeout`, `eval_delivery_limit`. Keys marked
 * `unused` are accepted, so that existing files work, and named in a warning.
 */
import { z } from "zod";
import {
  block,
  bool,
  duration,
  int,
  labelled,
  number,
  port,
  text,
  textMap,
  texts,
  unprotected,
  unused,
  word,
} from "./fields.js";

export const LOG_LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"] as const;

const TLS_VERSIONS = ["tls10", "tls11", "tls12", "tls13"] as const;

const addresses = block({ http: text, rpc: text, serf: text });

const serverJoin = block({ start_join: texts, retry_join: texts, retry_max: int, retry_interval: duration });

const server = block({
  enabled: bool,
  bootstrap_expect: int,
  data_dir: text,
  heartbeat_grace: duration,
  min_heartbeat_ttl: duration,
  max_heartbeats_per_second: number,
  num_schedulers: int,
  enabled_schedulers: texts,
  eval_nack_timeout: duration,
  eval_delivery_limit: int,
  eval_gc_threshold: duration,
  job_gc_interval: duration,
  job_gc_threshold: duration,
  node_gc_threshold: duration,
  deployment_gc_threshold: duration,
  default_scheduler_config: block({
    scheduler_algorithm: word(["binpack", "spread"]),
    memory_oversubscription_enabled: bool,
    reject_job_registration: bool,
    pause_eval_broker: bool,
    preemption_config: block({
      batch_scheduler_enabled: bool,
      service_scheduler_enabled: bool,
      sysbatch_scheduler_enabled: bool,
      system_scheduler_enabled: bool,
    }),
  }),
  authoritative_region: unused(text),
  csi_plugin_gc_threshold: unused(duration),
  csi_volume_claim_gc_threshold: unused(duration),
  enable_event_broker: unused(bool),
  encrypt: unprotected(text),
  event_buffer_size: unused(int),
  license_env: unused(text),
  license_path: unused(text),
  non_voting_server: unused(bool),
  protocol_version: unused(int),
  raft_multiplier: unused(int),
  raft_protocol: unused(int),
  redundancy_zone: unused(text),
  rejoin_after_leave: unused(bool),
  retry_interval: unused(duration),
  retry_join: unused(texts),
  retry_max: unused(int),
  search: unused(block({ fuzzy_enabled: bool, limit_query: int, limit_results: int, min_term_length: int })),
  server_join: unused(serverJoin),
  start_join: unused(texts),
  upgrade_version: unused(text),
});

const client = block({
  enabled: bool,
  alloc_dir: text,
  state_dir: text,
  servers: texts,
  node_class: text,
  meta: textMap,
  options: textMap,
  network_interface: text,
  cpu_total_compute: int,
  memory_total_mb: int,
  min_dynamic_port: port,
  max_dynamic_port: port,
  max_kill_timeout: duration,
  gc_interval: duration,
  gc_disk_usage_threshold: number,
  gc_max_allocs: int,
  reserved: block({ cpu: int, memory: int, disk: int, cores: text, reserved_ports: text }),
  host_volume: labelled(z.strictObject({ path: text, read_only: bool.optional() })),
  bind_wildcard_default_host_network: unused(bool),
  bridge_network_name: unused(text),
  bridge_network_subnet: unused(text),
  cgroup_parent: unused(text),
  chroot_env: unused(textMap),
  client_max_port: unused(port),
  client_min_port: unused(port),
  cni_config_dir: unused(text),
  cni_path: unused(text),
  disable_remote_exec: unused(bool),
  gc_inode_usage_threshold: unused(number),
  gc_parallel_destroys: unused(int),
  host_network: unused(labelled(block({ cidr: text, interface: text, reserved_ports: text }))),
  network_speed: unused(int),
  no_host_uuid: unused(bool),
  reservable_cores: unused(text),
  server_join: unused(serverJoin),
  template: unused(
    block({ disable_file_sandbox: bool, function_blacklist: texts, function_denylist: texts }),
  ),
});

const acl = block({
  enabled: unprotected(bool),
  policy_ttl: unused(duration),
  replication_token: unused(text),
  token_ttl: unused(duration),
});

const tls = block({
  ca_file: text,
  cert_file: text,
  http: bool,
  key_file: text,
  rpc: bool,
  rpc_upgrade_mode: bool,
  tls_cipher_suites: text,
  tls_min_version: word(TLS_VERSIONS),
  tls_prefer_server_cipher_suites: bool,
  verify_https_client: bool,
  verify_server_hostname: bool,
});

const consul = block({
  address: text,
  allow_unauthenticated: bool,
  auth: text,
  auto_advertise: bool,
  ca_file: text,
  cert_file: text,
  checks_use_advertise: bool,
  client_auto_join: bool,
  client_http_check_name: text,
  client_service_name: text,
  grpc_address: text,
  key_file: text,
  namespace: text,
  server_auto_join: bool,
  server_http_check_name: text,
  server_rpc_check_name: text,
  server_serf_check_name: text,
  server_service_name: text,
  share_ssl: bool,
  ssl: bool,
  tags: texts,
  timeout: duration,
  token: text,
  verify_ssl: bool,
});

const vault = block({
  address: text,
  allow_unauthenticated: bool,
  ca_file: text,
  ca_path: text,
  cert_file: text,
  create_from_role: text,
  enabled: bool,
  key_file: text,
  namespace: text,
  task_token_ttl: text,
  tls_server_name: text,
  tls_skip_verify: bool,
  token: text,
});

const telemetry = block({
  collection_interval: duration,
  disable_hostname: bool,
  prometheus_metrics: bool,
  publish_allocation_metrics: bool,
  publish_node_metrics: bool,
  circonus_api_app: unused(text),
  circonus_api_token: unused(text),
  circonus_api_url: unused(text),
  circonus_broker_id: unused(text),
  circonus_broker_select_tag: unused(text),
  circonus_check_display_name: unused(text),
  circonus_check_force_metric_activation: unused(text),
  circonus_check_id: unused(text),
  circonus_check_instance_id: unused(text),
  circonus_check_search_tag: unused(text),
  circonus_check_tags: unused(text),
  circonus_submission_interval: unused(text),
  circonus_submission_url: unused(text),
  datadog_address: unused(text),
  datadog_tags: unused(texts),
  disable_dispatched_job_summary_metrics: unused(bool),
  filter_default: unused(bool),
  prefix_filter: unused(texts),
  statsd_address: unused(text),
  statsite_address: unused(text),
  use_node_name: unused(bool),
});

const pluginBlock = z.strictObject({
  enabled: bool.optional(),
  source: text.optional(),
  args: texts.optional(),
  config: z.record(z.string(), z.unknown()).optional(),
});

/** Which filters and scorers of plugins take part in the placement of a job type's jobs, and how long that may take. */
const schedulerBlock = block({
  filters: texts,
  scorers: texts,
  deadline: duration,
  namespace: labelled(block({ filters: texts, scorers: texts })),
});

/** One configuration file. */
export const fileSchema = block({
  region: text,
  datacenter: text,
  name: text,
  data_dir: text,
  bind_addr: text,
  log_level: word(LOG_LEVELS),
  log_json: bool,
  log_file: text,
  enable_debug: bool,
  leave_on_interrupt: bool,
  leave_on_terminate: bool,
  disable_update_check: bool,
  http_api_response_headers: textMap,
  plugin_dir: text,
  ports: block({ http: port, rpc: port, serf: port }),
  addresses,
  advertise: addresses,
  limits: block({
    http_max_conns_per_client: int,
    rpc_max_conns_per_client: int,
    https_handshake_timeout: duration,
    rpc_handshake_timeout: duration,
  }),
  server,
  client,
  telemetry,
  plugin: labelled(pluginBlock),
  plugin_trust: block({ publishers: texts }),
  scheduler: labelled(schedulerBlock),
  acl,
  tls,
  audit: unprotected(
    block({
      enabled: bool,
      filter: labelled(block({ type: text, endpoints: texts, stages: texts, operations: texts })),
      sink: labelled(
        block({
          type: text,
          format: text,
          path: text,
          delivery_guarantee: text,
          mode: text,
          rotate_bytes: int,
          rotate_duration: duration,
          rotate_max_files: int,
        }),
      ),
    }),
  ),
  autopilot: unused(
    block({
      cleanup_dead_servers: bool,
      disable_upgrade_migration: bool,
      enable_custom_upgrades: bool,
      enable_redundancy_zones: bool,
      last_contact_threshold: duration,
      max_trailing_logs: int,
      min_quorum: int,
      server_stabilization_time: duration,
    }),
  ),
  consul: unused(consul),
  vault: unused(vault),
  sentinel: unused(block({ import: labelled(block({ path: text, args: texts })) })),
  ui: unused(block({ enabled: bool, consul: block({ ui_url: text }), vault: block({ ui_url: text }) })),
  disable_anonymous_signature: unused(bool),
  enable_syslog: unused(bool),
  syslog_facility: unused(text),
  log_rotate_bytes: unused(int),
  log_rotate_duration: unused(duration),
  log_rotate_max_files: unused(int),
});

/** What one file, or several merged, say; durations in milliseconds, everything else as Nomad documents it. */
export type Settings = z.output<typeof fileSchema>;
