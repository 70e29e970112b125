/** Which rows can take a group at all, whatever runs there: datacenter, drivers, constraints, volumes, network modes. */
import {
  type Constraint,
  type Job,
  type NodeColumns,
  NodeStatusBit,
  type StateSnapshot,
  type TaskGroup,
  VolumeType,
} from "@drover/plugin-sdk";
import {
  Candidates,
  compileRowTest,
  constraintEscapes,
  constraintText,
  isDistinct,
  rowsOf,
} from "@drover/plugin-sdk/scheduling";

const PLACEABLE = NodeStatusBit.InUse | NodeStatusBit.Ready | NodeStatusBit.Eligible;
const MASK = PLACEABLE | NodeStatusBit.Draining;

/** A test that every row must pass, and what the metrics call those that don't. */
export interface RowTest {
  readonly reason: string;
  passes(row: number): boolean;
}

/** Rows that are ready, eligible, not draining and in one of the job's datacenters, and their number by datacenter. */
export function readyRows(
  columns: NodeColumns,
  length: number,
  datacenters: readonly string[],
): { rows: Candidates; byDatacenter: Record<string, number> } {
  const rows = new Candidates(length);
  const codes = columns.codes("node.datacenter");
  const values = columns.values("node.datacenter");
  const counts = new Uint32Array(values.length);
  const wanted = Uint8Array.from(values, (value) =>
    value !== undefined && datacenters.includes(value) ? 1 : 0,
  );
  const { status } = columns;
  for (let row = 0; row < length; row++) {
    if ((status[row]! & MASK) !== PLACEABLE) continue;
    const code = codes[row]!;
    if (wanted[code] !== 1) continue;
    counts[code]!++;
    rows.add(row);
  }
  const byDatacenter: Record<string, number> = {};
  for (const datacenter of datacenters) {
    const code = values.indexOf(datacenter);
    byDatacenter[datacenter] = code < 0 ? 0 : counts[code]!;
  }
  return { rows, byDatacenter };
}

/** All constraints on a group: the job's, its own, its tasks'. */
export function constraintsOf(job: Job, group: TaskGroup): Constraint[] {
  return [
    ...(job.Constraints ?? []),
    ...(group.Constraints ?? []),
    ...group.Tasks.flatMap((task) => task.Constraints ?? []),
  ];
}

/** Whether a constraint on the group names something unique to a node, so that computed classes decide nothing. */
export function groupEscapes(job: Job, group: TaskGroup): boolean {
  return constraintsOf(job, group).some(constraintEscapes);
}

/** The tests of a group in the order in which a failure is counted. */
export function rowTests(job: Job, group: TaskGroup, columns: NodeColumns, state: StateSnapshot): RowTest[] {
  const constraintTests = (constraints: readonly Constraint[]): RowTest[] =>
    constraints
      .filter((constraint) => !isDistinct(constraint))
      .map((constraint) => ({
        reason: constraintText(constraint),
        passes: compileRowTest(constraint, columns),
      }));
  return [
    ...constraintTests(job.Constraints ?? []),
    ...driverTests(group, columns),
    ...constraintTests(group.Constraints ?? []),
    ...constraintTests(group.Tasks.flatMap((task) => task.Constraints ?? [])),
    ...volumeTests(group, columns, state),
    ...networkTests(group, columns, state),
  ];
}

/** Removes the rows that fail a test; tells how many for which reason. */
export function applyTests(rows: Candidates, tests: readonly RowTest[]): Record<string, number> {
  const removed: Record<string, number> = {};
  for (const { reason, passes } of tests) {
    let count = 0;
    for (const row of rowsOf(rows)) {
      if (passes(row)) continue;
      rows.remove(row);
      count++;
    }
    if (count > 0) removed[reason] = (removed[reason] ?? 0) + count;
  }
  return removed;
}

function driverTests(group: TaskGroup, columns: NodeColumns): RowTest[] {
  return [...new Set(group.Tasks.map((task) => task.Driver))].map((driver) => {
    const codes = columns.codes(`attr.driver.${driver}`);
    const healthy = Uint8Array.from(columns.values(`attr.driver.${driver}`), (value) =>
      value === "1" || value?.toLowerCase() === "true" ? 1 : 0,
    );
    return { reason: "missing drivers", passes: (row) => healthy[codes[row]!] === 1 };
  });
}

function volumeTests(group: TaskGroup, columns: NodeColumns, state: StateSnapshot): RowTest[] {
  const tests: RowTest[] = [];
  const asked = Object.values(group.Volumes ?? {});
  const host = asked.filter((volume) => volume.Type === VolumeType.Host);
  if (host.length > 0) {
    tests.push({
      reason: "missing compatible host volumes",
      passes: (row) => {
        const offered = state.node(columns.nodeId(row) ?? "")?.HostVolumes ?? {};
        return host.every((volume) => {
          const found = Object.hasOwn(offered, volume.Source) ? offered[volume.Source] : undefined;
          return found !== undefined && (volume.ReadOnly || !found.ReadOnly);
        });
      },
    });
  }
  for (const volume of asked.filter((one) => one.Type === VolumeType.CSI)) {
    // No server of ours registers CSI volumes, so none can be claimed.
    tests.push({ reason: `missing CSI Volume ${volume.Source}`, passes: () => false });
  }
  return tests;
}

function networkTests(group: TaskGroup, columns: NodeColumns, state: StateSnapshot): RowTest[] {
  const network = group.Networks?.[0];
  if (network === undefined) return [];
  const tests: RowTest[] = [];
  const mode = network.Mode;
  if (mode === "bridge" || mode.startsWith("cni/")) {
    tests.push({
      reason: "missing network",
      passes: (row) => {
        const has = state.node(columns.nodeId(row) ?? "")?.NodeResources;
        const interfaces = [...(has?.Networks ?? []), ...(has?.NodeNetworks ?? [])];
        return interfaces.some((one) => one.Mode === mode);
      },
    });
  }
  const ports = [...(network.ReservedPorts ?? []), ...(network.DynamicPorts ?? [])];
  for (const port of ports.filter((one) => one.HostNetwork !== "" && one.HostNetwork !== "default")) {
    tests.push({
      reason: `missing host network "${port.HostNetwork}" for port "${port.Label}"`,
      passes: (row) => {
        const devices = state.node(columns.nodeId(row) ?? "")?.NodeResources.NodeNetworks ?? [];
        return devices.some((device) =>
          (device.Addresses ?? []).some((one) => one.Alias === port.HostNetwork),
        );
      },
    });
  }
  return tests;
}
