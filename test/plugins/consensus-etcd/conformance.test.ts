import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { after, before } from "node:test";
import {
  type ConsensusUnderTest,
  consensusClusterConformance,
  consensusConformance,
  MemoryNetwork,
} from "@drover/plugin-sdk/testing";
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
  const address = "127.0.0.1:4647";
  return {
    address,
    open: async () => (await server(etcd, folder, prefix, {}, { address })).consensus,
    close: () => rm(folder, { recursive: true, force: true }),
  };
});

const CONFIG = { snapshot_threshold: 50, snapshot_interval: 0, trailing_logs: 20 };

consensusClusterConformance("consensus-etcd", async () => {
  const network = new MemoryNetwork();
  const prefix = `/test-${randomUUID()}`;
  const servers = await Promise.all(
    [1, 2, 3, 4].map(async (number): Promise<ConsensusUnderTest> => {
      const folder = await temporaryFolder();
      const address = `10.0.0.${number}:4647`;
      return {
        address,
        open: async () => {
          network.leave(address);
          const place = { address, network: network.join(address) };
          return (await server(etcd, folder, prefix, CONFIG, place)).consensus;
        },
        close: () => rm(folder, { recursive: true, force: true }),
      };
    }),
  );
  return {
    servers,
    majority: {
      lose: async () => {
        await Promise.all([etcd.kill(0), etcd.kill(1)]);
      },
      regain: async () => {
        etcd.restart(0);
        etcd.restart(1);
        await etcd.answers();
      },
    },
    close: () => undefined,
  };
});
