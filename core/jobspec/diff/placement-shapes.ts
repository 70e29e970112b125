/** What is compared of the rules and policies that jobs, groups and tasks share. */
import type {
  Affinity,
  Constraint,
  EphemeralDisk,
  LogConfig,
  MigrateStrategy,
  NetworkResource,
  Port,
  RequestedDevice,
  ReschedulePolicy,
  Resources,
  RestartPolicy,
  ScalingPolicy,
  Spread,
  SpreadTarget,
  UpdateStrategy,
  VolumeRequest,
} from "@drover/plugin-sdk";
import { block, blockSet, keyedBlocks, openBlock, type Shape, textSet } from "./blocks.js";

export const constraintShape: Shape<Constraint> = { fields: ["LTarget", "Operand", "RTarget"] };

export const affinityShape: Shape<Affinity> = { fields: ["LTarget", "Operand", "RTarget", "Weight"] };

const spreadTargetShape: Shape<SpreadTarget> = { fields: ["Percent", "Value"] };

export const spreadShape: Shape<Spread> = {
  fields: ["Attribute", "Weight"],
  parts: [blockSet("SpreadTarget", (spread) => spread.SpreadTarget, spreadTargetShape)],
};

export const restartShape: Shape<RestartPolicy> = { fields: ["Attempts", "Delay", "Interval", "Mode"] };

export const rescheduleShape: Shape<ReschedulePolicy> = {
  fields: ["Attempts", "Delay", "DelayFunction", "Interval", "MaxDelay", "Unlimited"],
};

export const diskShape: Shape<EphemeralDisk> = { fields: ["Migrate", "SizeMB", "Sticky"] };

export const updateShape: Shape<UpdateStrategy> = {
  fields: [
    "AutoPromote",
    "AutoRevert",
    "Canary",
    "HealthCheck",
    "HealthyDeadline",
    "MaxParallel",
    "MinHealthyTime",
    "ProgressDeadline",
  ],
  quiet: ["Stagger"],
};

export const migrateShape: Shape<MigrateStrategy> = {
  fields: ["HealthCheck", "HealthyDeadline", "MaxParallel", "MinHealthyTime"],
};

/** Its id, indexes and target are the server's. */
export const scalingShape: Shape<ScalingPolicy> = {
  fields: ["Enabled", "Max", "Min", "Type"],
  parts: [openBlock("Policy", (scaling) => scaling.Policy)],
};

export const volumeShape: Shape<VolumeRequest> = {
  fields: ["AccessMode", "AttachmentMode", "Name", "PerAlloc", "ReadOnly", "Source", "Type"],
  parts: [
    block("MountOptions", (volume) => volume.MountOptions, {
      fields: ["FSType"],
      parts: [textSet("MountFlags", (options) => options.MountFlags)],
    }),
  ],
};

const dynamicPortShape: Shape<Port> = { fields: ["HostNetwork", "Label", "To"] };
const staticPortShape: Shape<Port> = { fields: ["HostNetwork", "Label", "To", "Value"] };

/** Device, CIDR and IP are what a node has, not what a job asks. */
const networkShape: Shape<NetworkResource> = {
  fields: ["MBits", "Mode"],
  parts: [
    keyedBlocks("Static Port", (network) => network.ReservedPorts, labelOf, staticPortShape),
    keyedBlocks("Dynamic Port", (network) => network.DynamicPorts, labelOf, dynamicPortShape),
    block("DNS", (network) => network.DNS, {
      fields: [],
      parts: [
        textSet("Servers", (dns) => dns.Servers),
        textSet("Searches", (dns) => dns.Searches),
        textSet("Options", (dns) => dns.Options),
      ],
    }),
  ],
};

function labelOf(port: Port): string {
  return port.Label;
}

/** Networks have no names; there is one as a rule, so the place in the list tells them apart. */
export function networks<T>(read: (value: T) => readonly NetworkResource[] | null | undefined) {
  return keyedBlocks<T, NetworkResource>("Network", read, (_, at) => String(at), networkShape);
}

const deviceShape: Shape<RequestedDevice> = {
  fields: ["Count", "Name"],
  parts: [
    blockSet("Constraint", (device) => device.Constraints, constraintShape),
    blockSet("Affinity", (device) => device.Affinities, affinityShape),
  ],
};

export const resourcesShape: Shape<Resources> = {
  fields: ["CPU", "Cores", "DiskMB", "IOPS", "MemoryMB", "MemoryMaxMB"],
  parts: [
    networks((resources) => resources.Networks),
    keyedBlocks(
      "Device",
      (resources) => resources.Devices,
      (device) => device.Name,
      deviceShape,
    ),
  ],
};

export const logConfigShape: Shape<LogConfig> = { fields: ["MaxFileSizeMB", "MaxFiles"] };
