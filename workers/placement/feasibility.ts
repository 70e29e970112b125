/** Which rows can take a group at all, whatever runs there: datacenter, drivers, constraints, volumes, networks, devices. */
import {
  type Constraint,
  type Job,
  type NodeColumns,
  NodeStatusBit,
  type TaskGroup,
  VolumeType,
} from "@drover/plugin-sdk";
import {
  compileRowTest,
  constraintEscapes,
  constraintText,
  type DeviceFact,
  deviceAsks,
  devicesFeasible,
  isDistinct,
  NodeFact,
} from "@drover/plugin-sdk/scheduling";

const PLACEABLE = NodeStatusBit.InUse | NodeStatusBit.Ready | NodeStatusBit.Eligible;
const MASK = PLACEABLE | NodeStatusBit.Draining;

/** A test that every row must pass, and what the metrics call those that don't. */
export interface RowTest {
  readonly reason: string;
  /** Nodes of one computed class all give the same answer. */
  readonly byClass: boolean;
  passes(row: number): boolean;
}

/** Rows that are ready, eligible, not draining and in one of the job's datacenters, and their number by datacenter. */
export function readyRows(
  columns: NodeColumns,
  length: number,
  datacenters: readonly string[],
): { rows: Int32Array; byDatacenter: Record<string, number> } {
  const rows = new Int32Array(length);
  const codes = columns.codes("node.datacenter");
  const values = columns.values("node.datacenter");
  const counts = new Uint32Array(values.length);
  const wanted = Uint8Array.from(values, (value) =>
    value !== undefined && datacenters.includes(value) ? 1 : 0,
  );
  const { status } = columns;
  let found = 0;
  for (let row = 0; row < length; row++) {
    if ((status[row]! & MASK) !== PLACEABLE) continue;
    const code = codes[row]!;
    if (wanted[code] !== 1) continue;
    counts[code]!++;
    rows[found++] = row;
  }
  const byDatacenter: Record<string, number> = {};
  for (const datacenter of datacenters) {
    const code = values.indexOf(datacenter);
    byDatacenter[datacenter] = code < 0 ? 0 : counts[code]!;
  }
  return { rows: rows.subarray(0, found), byDatacenter };
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
export function rowTests(job: Job, group: TaskGroup, columns: NodeColumns): RowTest[] {
  const constraintTests = (constraints: readonly Constraint[]): RowTest[] =>
    constraints
      .filter((constraint) => !isDistinct(constraint))
      .map((constraint) => ({
        reason: constraintText(constraint),
        byClass: true,
        passes: compileRowTest(constraint, columns),
      }));
  return [
    ...constraintTests(job.Constraints ?? []),
    ...driverTests(group, columns),
    ...constraintTests(group.Constraints ?? []),
    ...constraintTests(group.Tasks.flatMap((task) => task.Constraints ?? [])),
    ...volumeTests(group, columns),
    ...deviceTests(group, columns),
    ...networkTests(group, columns),
  ];
}

/** By row of `rows`: 0, or the number (plus one) of the first test that it fails. */
export function firstFailures(
  rows: Int32Array,
  tests: readonly RowTest[],
  length: number,
): { failed: Uint16Array; reasons: string[] } {
  const failed = new Uint16Array(length);
  const reasons: string[] = [];
  for (const { reason, passes } of tests) {
    let number = reasons.indexOf(reason);
    if (number < 0) number = reasons.push(reason) - 1;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      if (failed[row] === 0 && !passes(row)) failed[row] = number + 1;
    }
  }
  return { failed, reasons };
}

/** A test of one value a node. */
function columnTest(
  columns: NodeColumns,
  key: string,
  holds: (value: string | undefined) => boolean,
): (row: number) => boolean {
  const codes = columns.codes(key);
  const answers = Uint8Array.from(columns.values(key), (value) => (holds(value) ? 1 : 0));
  // A code without an answer was added after the dictionary was read; its row waits for the next evaluation.
  return (row) => answers[codes[row]!] === 1;
}

/** What a node reports of a driver counts; only where it reports nothing does the attribute. */
function driverTests(group: TaskGroup, columns: NodeColumns): RowTest[] {
  const tests: RowTest[] = [];
  for (const driver of new Set(group.Tasks.map((task) => task.Driver))) {
    const reported = columnTest(columns, NodeFact.driver(driver), (health) => health !== "unhealthy");
    const healthy = columnTest(columns, NodeFact.driver(driver), (health) => health === "healthy");
    const detected = columnTest(columns, `attr.driver.${driver}`, isTrue);
    tests.push(
      { reason: "missing drivers", byClass: false, passes: reported },
      { reason: "missing drivers", byClass: true, passes: (row) => detected(row) || healthy(row) },
    );
  }
  return tests;
}

function isTrue(value: string | undefined): boolean {
  return value === "1" || value?.toLowerCase() === "true" || value === "t" || value === "T";
}

function volumeTests(group: TaskGroup, columns: NodeColumns): RowTest[] {
  const tests: RowTest[] = [];
  for (const volume of Object.values(group.Volumes ?? {})) {
    if (volume.Type === VolumeType.Host) {
      tests.push({
        reason: "missing compatible host volumes",
        byClass: false,
        passes: columnTest(
          columns,
          NodeFact.hostVolume(volume.Source),
          (access) => access === "rw" || (access === "ro" && volume.ReadOnly),
        ),
      });
    } else if (volume.Type === VolumeType.CSI) {
      // No server of ours registers CSI volumes, so none can be claimed.
      tests.push({
        reason: `missing CSI Volume ${volume.Source}`,
        byClass: false,
        passes: () => false,
      });
    }
  }
  return tests;
}

function deviceTests(group: TaskGroup, columns: NodeColumns): RowTest[] {
  const asks = deviceAsks(group);
  if (asks.length === 0) return [];
  const feasible = (facts: string | undefined): boolean =>
    facts !== undefined && devicesFeasible(asks, JSON.parse(facts) as DeviceFact[]);
  return [
    {
      reason: "missing devices",
      byClass: false,
      passes: columnTest(columns, NodeFact.devices, feasible),
    },
  ];
}

/** Modes that every node has. */
const EVERYWHERE: readonly string[] = ["", "host", "none"];

function networkTests(group: TaskGroup, columns: NodeColumns): RowTest[] {
  const network = group.Networks?.[0];
  if (network === undefined) return [];
  const tests: RowTest[] = [];
  const exists = (value: string | undefined): boolean => value !== undefined;
  if (!EVERYWHERE.includes(network.Mode)) {
    tests.push({
      reason: "missing network",
      byClass: false,
      passes: columnTest(columns, NodeFact.networkMode(network.Mode), exists),
    });
  }
  const ports = [...(network.ReservedPorts ?? []), ...(network.DynamicPorts ?? [])];
  for (const port of ports.filter((one) => one.HostNetwork !== "" && one.HostNetwork !== "default")) {
    tests.push({
      reason: `missing host network "${port.HostNetwork}" for port "${port.Label}"`,
      byClass: false,
      passes: columnTest(columns, NodeFact.hostNetwork(port.HostNetwork), exists),
    });
  }
  return tests;
}
