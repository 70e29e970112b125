import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeFact, nodeFacts } from "@drover/plugin-sdk/scheduling";
import { makeNode } from "@drover/plugin-sdk/testing";
import { SharedNodeColumns } from "../../../core/state/read/index.js";
import { nodeRegistration, openMachine } from "./support.js";

const healthy = {
  Attributes: null,
  Detected: true,
  HealthDescription: "",
  Healthy: true,
  UpdateTime: "",
};

test("threads read what placement asks of nodes from columns, and what a node lost is gone", async () => {
  const machine = openMachine();
  try {
    const node = makeNode({
      Drivers: { exec: healthy, docker: { ...healthy, Healthy: false } },
      HostVolumes: {
        data: { Name: "data", Path: "/srv/data", ReadOnly: false },
        logs: { Name: "logs", Path: "/srv/logs", ReadOnly: true },
      },
    });
    node.ReservedResources.Cpu.ReservedCpuCores = [0];
    node.NodeResources.NodeNetworks![0]!.Mode = "bridge";
    node.NodeResources.Devices = [
      {
        Attributes: null,
        Instances: [
          { HealthDescription: "", Healthy: true, ID: "a", Locality: null },
          { HealthDescription: "", Healthy: false, ID: "b", Locality: null },
        ],
        Name: "t4",
        Type: "gpu",
        Vendor: "nvidia",
      },
    ];
    machine.apply(nodeRegistration(node));
    const columns = new SharedNodeColumns(machine.store.columns);
    const fact = (key: string) => columns.values(key)[columns.codes(key)[columns.row(node.ID)!]!];
    assert.equal(fact(NodeFact.driver("exec")), "healthy");
    assert.equal(fact(NodeFact.driver("docker")), "unhealthy");
    assert.equal(fact(NodeFact.driver("java")), undefined);
    assert.equal(fact(NodeFact.hostVolume("data")), "rw");
    assert.equal(fact(NodeFact.hostVolume("logs")), "ro");
    assert.equal(fact(NodeFact.networkMode("bridge")), "yes");
    assert.equal(fact(NodeFact.hostNetwork("default")), "yes");
    assert.equal(fact(NodeFact.cores), "3");
    assert.equal(fact(NodeFact.coreMhz), "1000");
    assert.deepEqual(JSON.parse(fact(NodeFact.devices)!), [
      { Vendor: "nvidia", Type: "gpu", Name: "t4", Attributes: {}, Healthy: 1 },
    ]);
    for (const [key] of nodeFacts(node)) assert.match(key, / /, "no target of a constraint can name a fact");

    machine.apply(nodeRegistration({ ...node, Drivers: { exec: healthy }, HostVolumes: null }));
    assert.equal(fact(NodeFact.driver("docker")), undefined);
    assert.equal(fact(NodeFact.hostVolume("data")), undefined);
    assert.equal(fact(NodeFact.driver("exec")), "healthy");
  } finally {
    await machine.close();
  }
});
