/** A job that uses every block of the specification. */
import type { Job, JobInput } from "@drover/plugin-sdk";
import { canonicalizeForState } from "../../../../core/jobspec/index.js";

const CONSTRAINT = { LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "linux" };
const AFFINITY = { LTarget: "${meta.rack}", Operand: "=", RTarget: "r1", Weight: 50 };
const SPREAD = { Attribute: "${meta.rack}", SpreadTarget: [{ Percent: 40, Value: "r1" }], Weight: 60 };
const NETWORK = {
  Mode: "bridge",
  MBits: 5,
  DNS: { Servers: ["1.1.1.1"], Searches: ["local"], Options: ["ndots:2"] },
  DynamicPorts: [{ Label: "http", To: 8080, HostNetwork: "public" }],
  ReservedPorts: [{ Label: "admin", To: 9090, Value: 9090, HostNetwork: "private" }],
};

const CONNECT = {
  Native: false,
  SidecarService: {
    DisableDefaultTCPCheck: true,
    Port: "http",
    Tags: ["side"],
    Proxy: {
      LocalServiceAddress: "127.0.0.1",
      LocalServicePort: 8080,
      Config: { protocol: "http" },
      Expose: { Paths: [{ ListenerPort: "x", LocalPathPort: 1, Path: "/m", Protocol: "http" }] },
      Upstreams: [
        {
          Datacenter: "dc2",
          DestinationName: "db",
          LocalBindAddress: "127.0.0.1",
          LocalBindPort: 5432,
          MeshGateway: { Mode: "local" },
        },
      ],
    },
  },
  SidecarTask: {
    Config: { image: "envoy" },
    Driver: "docker",
    Env: { A: "1" },
    KillSignal: "SIGTERM",
    KillTimeout: 3e9,
    LogConfig: { MaxFileSizeMB: 3, MaxFiles: 4 },
    Meta: { m: "1" },
    Name: "side",
    Resources: { CPU: 50, MemoryMB: 60 },
    ShutdownDelay: 2e9,
    User: "envoy",
  },
};

const GATEWAY = {
  Gateway: {
    Proxy: {
      Config: { a: 1 },
      ConnectTimeout: 5e9,
      EnvoyDNSDiscoveryType: "STRICT_DNS",
      EnvoyGatewayBindAddresses: { one: { Address: "10.0.0.1", Name: "one", Port: 80 } },
      EnvoyGatewayBindTaggedAddresses: true,
      EnvoyGatewayNoDefaultBind: true,
    },
    Ingress: {
      TLS: { Enabled: true },
      Listeners: [{ Port: 80, Protocol: "http", Services: [{ Name: "web", Hosts: ["a.example"] }] }],
    },
    Terminating: {
      Services: [{ CAFile: "ca", CertFile: "cert", KeyFile: "key", Name: "legacy", SNI: "sni" }],
    },
  },
};

const SERVICE = {
  Name: "web",
  AddressMode: "host",
  CanaryMeta: { c: "1" },
  CanaryTags: ["canary"],
  EnableTagOverride: true,
  Meta: { m: "1" },
  OnUpdate: "ignore",
  PortLabel: "http",
  Tags: ["a", "b"],
  TaskName: "t",
  Connect: CONNECT,
  Checks: [
    {
      Name: "alive",
      Type: "http",
      AddressMode: "host",
      Args: ["-a"],
      Body: "b",
      Command: "c",
      Expose: true,
      FailuresBeforeCritical: 2,
      GRPCService: "g",
      GRPCUseTLS: true,
      Header: { Authorization: ["x"] },
      InitialStatus: "passing",
      Interval: 1e10,
      Method: "GET",
      OnUpdate: "ignore",
      Path: "/",
      PortLabel: "http",
      Protocol: "https",
      SuccessBeforePassing: 1,
      TLSSkipVerify: true,
      TaskName: "t",
      Timeout: 2e9,
      CheckRestart: { Grace: 1e9, IgnoreWarnings: true, Limit: 3 },
    },
  ],
};

const SCALING = { Enabled: true, Max: 5, Min: 1, Policy: { cooldown: "1m" }, Type: "horizontal" };
const UPDATE = {
  AutoPromote: true,
  AutoRevert: true,
  Canary: 1,
  HealthCheck: "checks",
  HealthyDeadline: 3e11,
  MaxParallel: 1,
  MinHealthyTime: 1e10,
  ProgressDeadline: 6e11,
  Stagger: 3e10,
};

export function richJob(): Job {
  const input = {
    ID: "rich",
    Type: "batch",
    Datacenters: ["dc1", "dc2"],
    Meta: { owner: "a" },
    ConsulNamespace: "c",
    VaultNamespace: "v",
    ParentID: "parent",
    Constraints: [CONSTRAINT],
    Affinities: [AFFINITY],
    Spreads: [SPREAD],
    Periodic: { Enabled: true, ProhibitOverlap: true, Spec: "@daily", SpecType: "cron", TimeZone: "UTC" },
    ParameterizedJob: { MetaOptional: ["o"], MetaRequired: ["r"], Payload: "optional" },
    Multiregion: {
      Strategy: { MaxParallel: 1, OnFailure: "fail_all" },
      Regions: [{ Name: "west", Count: 2, Datacenters: ["w1"], Meta: { a: "b" } }],
    },
    TaskGroups: [
      {
        Name: "g",
        Count: 2,
        Constraints: [CONSTRAINT],
        Affinities: [AFFINITY],
        Spreads: [SPREAD],
        Consul: { Namespace: "n" },
        EphemeralDisk: { Migrate: true, SizeMB: 200, Sticky: true },
        Meta: { g: "1" },
        Migrate: { HealthCheck: "checks", HealthyDeadline: 3e11, MaxParallel: 1, MinHealthyTime: 1e10 },
        Networks: [NETWORK],
        ReschedulePolicy: {
          Attempts: 1,
          Delay: 5e9,
          DelayFunction: "constant",
          Interval: 6e10,
          MaxDelay: 3e11,
          Unlimited: false,
        },
        RestartPolicy: { Attempts: 2, Delay: 15e9, Interval: 6e10, Mode: "fail" },
        Scaling: SCALING,
        Services: [SERVICE, { ...SERVICE, Name: "gateway", Connect: GATEWAY }],
        ShutdownDelay: 1e9,
        StopAfterClientDisconnect: 6e10,
        Update: UPDATE,
        Volumes: {
          data: {
            AccessMode: "single-node-writer",
            AttachmentMode: "file-system",
            MountOptions: { FSType: "ext4", MountFlags: ["noatime"] },
            Name: "data",
            PerAlloc: true,
            ReadOnly: true,
            Source: "vol",
            Type: "csi",
          },
        },
        Tasks: [
          {
            Name: "t",
            Driver: "docker",
            Config: { image: "web:1", port_map: [{ http: 80 }], args: ["a", "b"] },
            Constraints: [CONSTRAINT],
            Affinities: [AFFINITY],
            Artifacts: [
              {
                GetterHeaders: { h: "1" },
                GetterMode: "file",
                GetterOptions: { checksum: "sha256:x" },
                GetterSource: "https://example.org/a",
                RelativeDest: "local/",
              },
            ],
            CSIPluginConfig: { ID: "csi", MountDir: "/csi", Type: "node" },
            DispatchPayload: { File: "in" },
            Env: { GREETING: "hi" },
            KillSignal: "SIGINT",
            KillTimeout: 5e9,
            Kind: "connect-native:web",
            Leader: true,
            Lifecycle: { Hook: "prestart", Sidecar: true },
            LogConfig: { MaxFileSizeMB: 1, MaxFiles: 2 },
            Meta: { t: "1" },
            Resources: {
              CPU: 100,
              Cores: 1,
              DiskMB: 1,
              IOPS: 1,
              MemoryMB: 64,
              MemoryMaxMB: 128,
              Devices: [{ Name: "gpu", Count: 1, Constraints: [CONSTRAINT], Affinities: [AFFINITY] }],
              Networks: [NETWORK],
            },
            RestartPolicy: { Attempts: 1, Delay: 1e9, Interval: 6e10, Mode: "delay" },
            ScalingPolicies: [{ ...SCALING, Type: "vertical_cpu" }],
            Services: [{ ...SERVICE, Name: "task-web" }],
            ShutdownDelay: 1e9,
            Templates: [
              {
                ChangeMode: "signal",
                ChangeSignal: "SIGHUP",
                DestPath: "local/x",
                EmbeddedTmpl: "x",
                Envvars: true,
                LeftDelim: "[[",
                Perms: "0600",
                RightDelim: "]]",
                SourcePath: "src",
                Splay: 1e9,
                VaultGrace: 1e9,
              },
            ],
            User: "nobody",
            Vault: {
              ChangeMode: "restart",
              ChangeSignal: "SIGHUP",
              Env: true,
              Namespace: "v",
              Policies: ["p"],
            },
            VolumeMounts: [
              { Destination: "/data", PropagationMode: "private", ReadOnly: true, Volume: "data" },
            ],
          },
        ],
      },
      { Name: "other", Tasks: [{ Name: "u", Driver: "raw_exec", Config: { command: "/bin/true" } }] },
    ],
  };
  return canonicalizeForState(input as unknown as JobInput);
}
