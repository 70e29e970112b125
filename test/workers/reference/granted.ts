/** What a placement is given must be what its group asks for, no less and no more. */
import assert from "node:assert/strict";
import type {
  AllocatedPortMapping,
  NetworkResource,
  Node,
  Placement,
  Port,
  TaskGroup,
} from "@drover/plugin-sdk";
import { matches } from "./devices.js";
import type { World } from "./judge.js";

export function checkGranted({ nodes, configuration }: World, group: TaskGroup, placement: Placement): void {
  const { Shared, Tasks, TaskLifecycles } = placement.resources;
  const node = nodes.find(({ ID }) => ID === placement.nodeId)!;
  const { CpuShares, TotalCpuCores } = node.NodeResources.Cpu;
  assert.equal(Shared.DiskMB, group.EphemeralDisk.SizeMB);
  checkGroupPorts(node, group.Networks?.[0], Shared.Ports ?? []);
  assert.deepEqual(Object.keys(Tasks).sort(), group.Tasks.map(({ Name }) => Name).sort());
  for (const { Name, Lifecycle, Resources: ask } of group.Tasks) {
    const { Cpu, Devices, Memory, Networks } = Tasks[Name]!;
    assert.deepEqual(TaskLifecycles[Name], Lifecycle);
    assert.equal(Cpu.ReservedCores?.length ?? 0, ask.Cores, `cores of ${Name}`);
    const core = Math.floor(CpuShares / TotalCpuCores);
    assert.equal(Cpu.CpuShares, ask.Cores > 0 ? ask.Cores * core : ask.CPU, `MHz of ${Name}`);
    const MemoryMaxMB = configuration.MemoryOversubscriptionEnabled ? ask.MemoryMaxMB : 0;
    assert.deepEqual(Memory, { MemoryMB: ask.MemoryMB, MemoryMaxMB });
    const asks = ask.Devices ?? [];
    assert.equal(Devices?.length ?? 0, asks.length, `devices of ${Name}`);
    for (const [i, { Vendor, Type, Name: kind, DeviceIDs }] of (Devices ?? []).entries()) {
      const device = node.NodeResources.Devices?.find(
        (one) => one.Vendor === Vendor && one.Type === Type && one.Name === kind,
      );
      assert.ok(device !== undefined && matches(asks[i]!, device), `${Name} has a device that doesn't match`);
      assert.equal(DeviceIDs.length, asks[i]!.Count, `instances of ${Name}`);
    }
    checkTaskNetworks(node, ask.Networks ?? [], Networks ?? []);
  }
}

function checkGroupPorts(
  node: Node,
  ask: NetworkResource | undefined,
  given: readonly AllocatedPortMapping[],
): void {
  const asked = [...(ask?.ReservedPorts ?? []), ...(ask?.DynamicPorts ?? [])];
  assert.deepEqual(given.map(({ Label }) => Label).sort(), asked.map(({ Label }) => Label).sort());
  for (const port of asked) checkPort(node, port, given.find(({ Label }) => Label === port.Label)!);
}

function checkTaskNetworks(
  node: Node,
  asks: readonly NetworkResource[],
  given: readonly NetworkResource[],
): void {
  assert.equal(given.length, asks.length, "networks of a task");
  for (const [i, ask] of asks.entries()) {
    const network = given[i]!;
    const on = node.NodeResources.Networks?.find(({ IP }) => IP === network.IP);
    assert.equal(network.Device, on?.Device, "the address is that of the interface");
    if (ask.Device !== "") assert.equal(network.Device, ask.Device);
    assert.deepEqual(network.ReservedPorts, ask.ReservedPorts);
    assert.equal(network.DynamicPorts?.length, ask.DynamicPorts?.length);
    for (const [at, port] of (ask.DynamicPorts ?? []).entries())
      checkPort(node, port, network.DynamicPorts![at]!);
  }
}

/** Of `asked` the value is 0 where any of the node's dynamic ports will do. */
function checkPort(node: Node, asked: Port, given: Pick<Port, "Label" | "To" | "Value">): void {
  const { MinDynamicPort = 0, MaxDynamicPort = 0 } = node.NodeResources;
  assert.equal(given.Label, asked.Label);
  assert.equal(given.To, asked.To === -1 ? given.Value : asked.To, `target of port ${asked.Label}`);
  const [first, last] = asked.Value > 0 ? [asked.Value, asked.Value] : [MinDynamicPort, MaxDynamicPort];
  assert.ok(given.Value >= first && given.Value <= last, `port ${asked.Label}: ${given.Value}`);
}
