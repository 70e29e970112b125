import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { after, before } from "node:test";
import { consensusConformance } from "@drover/plugin-sdk/testing";
import { EtcdCluster } from "./etcd-cluster.js";
import { server, temporaryFolder } from "./support.js";

let etcd: EtcdCluster;

before(async () => {
  etcd = await EtcdCluster.start();
});
after(() => etcd.destroy());

consensusConformance("consensus-etcd", async () => {
  const folder = await temporaryFolder();
  const prefix = `/test-${randomUUID()}`;
  return {
    open: async () => (await server(etcd, folder, prefix)).consensus,
    close: () => rm(folder, { recursive: true, force: true }),
  };
});
