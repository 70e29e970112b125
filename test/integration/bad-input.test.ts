import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster } from "./cluster.js";
import { drover, freePorts, run } from "./process.js";

const folder = mkdtempSync(join(tmpdir(), "drover-bad-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** A configuration of a server that would start, with `extra` in it. */
async function serverConfig(
  name: string,
  extra: string,
  dataDir = join(folder, `${name}-data`),
): Promise<string> {
  const [http, rpc, serf, mqtt] = await freePorts(4);
  return file(
    `${name}.hcl`,
    `data_dir = "${dataDir}"
bind_addr = "127.0.0.1"
ports {
  http = ${http}
  rpc  = ${rpc}
  serf = ${serf}
}
server {
  enabled          = true
  bootstrap_expect = 1
}
plugin "mqtt" {
  config {
    broker {
      listen = "127.0.0.1:${mqtt}"
    }
  }
}
${extra}
`,
  );
}

describe("schedulers of a server", () => {
  test("a name that no scheduler has, and a list without _core, end the start with file, line and key", async () => {
    const path = await serverConfig("schedulers", 'server {\n  enabled_schedulers = ["service", "sytem"]\n}');
    const { code, output } = await run(["agent", "-config", path]);
    assert.equal(code, 1);
    assert.match(
      output,
      /schedulers\.hcl:\d+: server\.enabled_schedulers: there is no scheduler "sytem"; there are "service", "batch", "system", "sysbatch", "_core"/,
    );
    assert.match(output, /schedulers\.hcl:\d+: server\.enabled_schedulers: "_core" is missing from the list/);
  });
});

describe("job files", () => {
  test("broken HCL names file, line and column", async () => {
    const path = file("broken.hcl", 'job "x" {\n  datacenters = ["dc1"\n  group "g" {\n');
    const { code, output } = await run(["job", "validate", path]);
    assert.equal(code, 1);
    assert.match(output, /broken\.hcl:\d+,\d+/);
  });

  test("every validation error is shown at once", async () => {
    const path = file(
      "invalid.hcl",
      'job "x" {\n  datacenters = []\n  priority = 400\n  group "g" {\n    count = -1\n    task "t" {\n      driver = ""\n    }\n  }\n}\n',
    );
    const { code, output } = await run(["job", "validate", path], { NOMAD_ADDR: "http://127.0.0.1:9" });
    assert.equal(code, 1);
    assert.match(output, /Missing job datacenters/);
    assert.match(output, /priority/i);
    assert.match(output, /Missing task driver/);
  });

  test("an unknown key is named with its place and the nearest known key", async () => {
    const path = file("typo.hcl", 'job "x" {\n  datacenter = ["dc1"]\n}\n');
    const { code, output } = await run(["job", "validate", path]);
    assert.equal(code, 1);
    assert.match(output, /typo\.hcl:2/);
    assert.match(output, /datacenters/);
  });

  test("a file that does not exist", async () => {
    const { code, output } = await run(["job", "run", join(folder, "nowhere.hcl")]);
    assert.equal(code, 1);
    assert.match(output, /nowhere\.hcl/);
  });

  test("an agent that is not there: the address and what to do", async () => {
    const { code, output } = await run(["job", "status"], { NOMAD_ADDR: "http://127.0.0.1:9" });
    assert.equal(code, 1);
    assert.match(output, /127\.0\.0\.1:9/);
    assert.match(output, /NOMAD_ADDR|-address/);
  });
});

describe("agent configuration", () => {
  test("an unknown key is named with file, line and the nearest known one", async () => {
    const path = await serverConfig("unknown-key", 'data_dri = "/x"');
    const { code, output } = await run(["agent", "-config", path]);
    assert.equal(code, 1);
    assert.match(output, /unknown-key\.hcl:\d+/);
    assert.match(output, /data_dir/);
  });

  test("an unknown plugin is named with the nearest known one", async () => {
    const path = await serverConfig("unknown-plugin", 'plugin "mqt" {\n}');
    const { code, output } = await run(["agent", "-config", path]);
    assert.equal(code, 1);
    assert.match(output, /mqt/);
    assert.match(output, /mqtt/);
  });

  test("a plugin that throws in start ends the agent with its name and reason", async () => {
    const plugin = file(
      "thrower.mjs",
      `import { definePlugin } from "@drover/plugin-sdk";
export default definePlugin({ name: "thrower", register() {}, start() { throw new Error("no luck today"); } });
`,
    );
    const path = await serverConfig("throwing", `plugin "thrower" {\n  source = "${plugin}"\n}`);
    const { code, output } = await run(["agent", "-config", path]);
    assert.notEqual(code, 0);
    assert.match(output, /thrower/);
    assert.match(output, /no luck today|plugin-sdk/);
  });

  test("a port in use is named with its setting", async (t) => {
    const squatter = createServer().listen(0, "127.0.0.1");
    await once(squatter, "listening");
    t.after(() => squatter.close());
    const { port } = squatter.address() as { port: number };
    const path = await serverConfig("port", "");
    const { code, output } = await run(["agent", "-config", path, `-http-port=${port}`]);
    assert.notEqual(code, 0);
    assert.match(output, new RegExp(String(port)));
    assert.match(output, /in use/);
  });

  test("a data folder of another region is refused", async () => {
    const dataDir = join(folder, "regional");
    const first = await serverConfig("region-a", 'region = "global"', dataDir);
    const agent = drover(["agent", "-config", first]);
    await eventually("the agent started", () => {
      if (!agent.alive) throw new Error(agent.output);
      return /started!/.test(agent.output) || undefined;
    });
    await agent.kill("SIGINT");
    const second = await serverConfig("region-b", 'region = "mars"', dataDir);
    const { code, output } = await run(["agent", "-config", second]);
    assert.notEqual(code, 0);
    assert.match(output, /mars/);
    assert.match(output, /global/);
  });
});

describe("a running server", () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await Cluster.create();
    await cluster.startServer();
  });
  after(() => cluster.destroy());

  const serves = async (): Promise<void> => {
    assert.ok(cluster.server?.alive, cluster.server?.output);
    assert.ok(Array.isArray(await cluster.get("/jobs")));
  };

  test("a job that is too large is refused with the limit", async () => {
    const job = {
      ID: "large",
      Name: "large",
      Datacenters: ["dc1"],
      Type: "batch",
      Meta: { blob: "x".repeat(3 << 20) },
      TaskGroups: [
        { Name: "g", Count: 1, Tasks: [{ Name: "t", Driver: "raw_exec", Config: { command: "/bin/true" } }] },
      ],
    };
    const answer = await fetch(`${cluster.api}/jobs`, { method: "POST", body: JSON.stringify({ Job: job }) });
    assert.ok(answer.status >= 400, String(answer.status));
    assert.match(await answer.text(), /large|limit|bytes|MiB/i);
    await serves();
  });

  for (const [name, port] of [
    ["HTTP", () => cluster.serverPorts.http],
    ["MQTT", () => cluster.broker],
  ] as const) {
    test(`garbage on the ${name} port closes that connection and the server goes on`, async () => {
      for (let round = 0; round < 20; round++) {
        const socket = connect(port(), "127.0.0.1");
        await once(socket, "connect");
        socket.on("error", () => socket.destroy());
        socket.resume();
        const bytes = Buffer.from(Array.from({ length: 2_000 }, () => Math.floor(Math.random() * 256)));
        socket.end(bytes);
        await once(socket, "close");
      }
      await serves();
    });
  }
});
