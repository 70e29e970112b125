/** etcd as the consensus benchmarks compare with it: three members on loopback, their data on the same disk. */
import { Etcd3, type KVClient } from "etcd3";
import { EtcdCluster } from "../test/plugins/consensus-etcd/etcd-cluster.js";

/** Starts the members; `leader` is the URL of the one that leads, which is what clients write to. */
export async function startEtcd(): Promise<{ readonly leader: string; destroy(): Promise<void> }> {
  const cluster = await EtcdCluster.start(3);
  return {
    leader: cluster.endpoints[await cluster.leader()]!,
    destroy: () => cluster.destroy(),
  };
}

export function openEtcd(url: string): { readonly kv: KVClient } {
  return new Etcd3({ hosts: url });
}
