import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, PaperTransport } from "./bench-server.js";

describe("with one broker for all servers", () => {
  test("a server serves agents while it leads, and not before or after", async (t) => {
    const agents = new PaperTransport();
    agents.shared = true;
    const bench = new BenchServer([], [], undefined, { agents, server: { num_schedulers: 0 } });
    t.after(() => bench.stop());
    bench.consensus.lead(false);
    await bench.start();
    assert.equal(agents.handler, undefined);
    bench.consensus.lead(true);
    await eventually("it serves", () => agents.handler !== undefined);
    bench.consensus.lead(false);
    await eventually("it serves no more", () => agents.handler === undefined);
    bench.consensus.lead(true);
    await eventually("it serves again", () => agents.handler !== undefined);
  });
});

test("with a broker of its own a server serves agents whoever leads", async (t) => {
  const bench = new BenchServer([], [], undefined, { server: { num_schedulers: 0 } });
  t.after(() => bench.stop());
  await bench.start();
  const { handler } = bench;
  bench.consensus.lead(false);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.handler, handler);
});
