/** What is compared of services, their checks and Consul Connect. */
import type {
  ConsulConnect,
  ConsulGateway,
  ConsulProxy,
  ConsulSidecarService,
  ConsulUpstream,
  Service,
  ServiceCheck,
  SidecarTask,
} from "@drover/plugin-sdk";
import { block, blockSet, keyedBlocks, openBlock, type Part, type Shape, textSet } from "./blocks.js";
import { logConfigShape, resourcesShape } from "./placement-shapes.js";

const checkShape: Shape<ServiceCheck> = {
  fields: [
    "AddressMode",
    "Args",
    "Body",
    "Command",
    "Expose",
    "FailuresBeforeCritical",
    "GRPCService",
    "GRPCUseTLS",
    "InitialStatus",
    "Interval",
    "Method",
    "Name",
    "OnUpdate",
    "Path",
    "PortLabel",
    "Protocol",
    "SuccessBeforePassing",
    "TLSSkipVerify",
    "TaskName",
    "Timeout",
    "Type",
  ],
  parts: [
    openBlock("Header", (check) => check.Header),
    block("CheckRestart", (check) => check.CheckRestart, { fields: ["Grace", "IgnoreWarnings", "Limit"] }),
  ],
};

const upstreamShape: Shape<ConsulUpstream> = {
  fields: ["Datacenter", "DestinationName", "LocalBindAddress", "LocalBindPort"],
  parts: [block("MeshGateway", (upstream) => upstream.MeshGateway, { fields: ["Mode"] })],
};

const proxyShape: Shape<ConsulProxy> = {
  fields: ["LocalServiceAddress", "LocalServicePort"],
  parts: [
    keyedBlocks(
      "ConsulUpstreams",
      (proxy) => proxy.Upstreams,
      (upstream) => upstream.DestinationName,
      upstreamShape,
    ),
    block("Expose", (proxy) => proxy.Expose, {
      fields: [],
      parts: [
        blockSet("Path", (expose) => expose.Paths, {
          fields: ["ListenerPort", "LocalPathPort", "Path", "Protocol"],
        }),
      ],
    }),
    openBlock("Config", (proxy) => proxy.Config),
  ],
};

const sidecarServiceShape: Shape<ConsulSidecarService> = {
  fields: ["DisableDefaultTCPCheck", "Port"],
  parts: [
    textSet("Tags", (sidecar) => sidecar.Tags),
    block("ConsulProxy", (sidecar) => sidecar.Proxy, proxyShape),
  ],
};

const sidecarTaskShape: Shape<SidecarTask> = {
  fields: ["Driver", "Env", "KillSignal", "KillTimeout", "Meta", "Name", "ShutdownDelay", "User"],
  parts: [
    openBlock("Config", (task) => task.Config),
    block("Resources", (task) => task.Resources, resourcesShape),
    block("LogConfig", (task) => task.LogConfig, logConfigShape),
  ],
};

const gatewayShape: Shape<ConsulGateway> = {
  fields: [],
  parts: [
    block("Proxy", (gateway) => gateway.Proxy, {
      fields: [
        "ConnectTimeout",
        "EnvoyDNSDiscoveryType",
        "EnvoyGatewayBindTaggedAddresses",
        "EnvoyGatewayNoDefaultBind",
      ],
      parts: [
        keyedBlocks(
          "EnvoyGatewayBindAddresses",
          (proxy) => Object.values(proxy.EnvoyGatewayBindAddresses ?? {}),
          (address) => address.Name,
          { fields: ["Address", "Name", "Port"] },
        ),
        openBlock("Config", (proxy) => proxy.Config),
      ],
    }),
    block("Ingress", (gateway) => gateway.Ingress, {
      fields: [],
      parts: [
        block("TLS", (ingress) => ingress.TLS, { fields: ["Enabled"] }),
        keyedBlocks(
          "Listener",
          (ingress) => ingress.Listeners,
          (listener) => String(listener.Port),
          {
            fields: ["Port", "Protocol"],
            parts: [
              keyedBlocks(
                "ConsulIngressService",
                (listener) => listener.Services,
                (service) => service.Name,
                { fields: ["Name"], parts: [textSet("Hosts", (service) => service.Hosts)] },
              ),
            ],
          },
        ),
      ],
    }),
    block("Terminating", (gateway) => gateway.Terminating, {
      fields: [],
      parts: [
        keyedBlocks(
          "LinkedService",
          (terminating) => terminating.Services,
          (service) => service.Name,
          { fields: ["CAFile", "CertFile", "KeyFile", "Name", "SNI"] },
        ),
      ],
    }),
    block("Mesh", (gateway) => gateway.Mesh, { fields: [] }),
  ],
};

const connectShape: Shape<ConsulConnect> = {
  fields: ["Native"],
  parts: [
    block("SidecarService", (connect) => connect.SidecarService, sidecarServiceShape),
    block("SidecarTask", (connect) => connect.SidecarTask, sidecarTaskShape),
    block("Gateway", (connect) => connect.Gateway, gatewayShape),
  ],
};

const serviceShape: Shape<Service> = {
  fields: [
    "AddressMode",
    "CanaryMeta",
    "EnableTagOverride",
    "Meta",
    "Name",
    "Namespace",
    "OnUpdate",
    "PortLabel",
    "TaskName",
  ],
  parts: [
    textSet("Tags", (service) => service.Tags),
    textSet("CanaryTags", (service) => service.CanaryTags),
    keyedBlocks(
      "Check",
      (service) => service.Checks,
      (check) => check.Name,
      checkShape,
    ),
    block("ConsulConnect", (service) => service.Connect, connectShape),
  ],
};

/** Services by name. */
export function services<T>(read: (value: T) => readonly Service[] | null | undefined): Part<T> {
  return keyedBlocks("Service", read, (service) => service.Name, serviceShape);
}
