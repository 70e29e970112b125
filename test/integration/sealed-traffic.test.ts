import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster } from "./cluster.js";

/** Passes a TCP connection on and keeps every byte of both directions: all that a broker, or who owns it, could see. */
async function tap(port: number): Promise<{ port: number; seen(): Buffer; close(): void }> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (chunk: Buffer) => chunks.push(chunk));
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    seen: () => Buffer.concat(chunks),
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

test("nothing of a job, its environment, its output or the join token crosses the broker in the clear", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  t.after(() => cluster.destroy());
  await cluster.startServer();
  const wire = await tap(cluster.broker);
  t.after(() => wire.close());
  cluster.brokerSeenByClient = wire.port;
  await cluster.startClient();

  const words = [
    "sentineljob",
    "sentinelgroup",
    "sentineltask",
    "SENTINEL_NAME",
    "sentinel-value",
    "sentinel-output",
  ];
  const [job, group, task, name, value, output] = words as [string, string, string, string, string, string];
  await cluster.register({
    ID: job,
    Name: job,
    Type: "service",
    Datacenters: ["dc1"],
    Meta: { owner: value },
    TaskGroups: [
      {
        Name: group,
        Count: 1,
        Tasks: [
          {
            Name: task,
            Driver: "raw_exec",
            Env: { [name]: value },
            Config: { command: "/bin/sh", args: ["-c", `echo ${output} $${name}; exec sleep 600`] },
            Resources: { CPU: 20, MemoryMB: 16 },
          },
        ],
      },
    ],
  });
  const allocation = await eventually("a running allocation", async () =>
    (await cluster.allocations(job)).find((each) => each.ClientStatus === "running"),
  );
  const log = `/client/fs/logs/${allocation.ID}?task=${task}&type=stdout&plain=true`;
  await eventually("the log through the server", async () => {
    const text = await (await fetch(`${cluster.api}${log}`)).text();
    return text.includes(`${output} ${value}`);
  });

  const seen = wire.seen();
  assert.ok(seen.length > 5_000, `only ${seen.length} bytes crossed the tap`);
  for (const word of words) {
    const bytes = Buffer.from(word);
    assert.equal(seen.includes(bytes), false, `"${word}" crossed the broker in the clear`);
    assert.equal(
      seen.includes(bytes.toString("base64").replace(/=+$/, "").slice(0, -1)),
      false,
      `"${word}" in base64`,
    );
  }
  for (const secret of [
    cluster.joinToken,
    Buffer.from(cluster.joinToken.slice(8), "base64url").subarray(32),
  ]) {
    assert.equal(seen.includes(secret), false, "the join token crossed the broker");
  }
  await fetch(`${cluster.api}/job/${job}`, { method: "DELETE" });
  await eventually("the task stopped", async () =>
    (await cluster.allocations(job)).every((each) => each.ClientStatus === "complete"),
  );
});
