import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HclError, parseHclConfig } from "../../../../core/jobspec/index.js";

const TEXT = `# A comment with { and "
datacenter = "dc1" // and here

/* server {
   enabled = false
} */
server {
  enabled = true
}

plugin "raw_exec" {
  config {
    enabled = true
  }
}

plugin "mqtt" {
  config { port = 1883 }
}

script = <<-EOT
  server {
    enabled = false
  }
  EOT

client {
  options = {
    "driver.denylist" = "x"
  }
}
server {
  enabled = false
}
`;

describe("agent configuration", () => {
  test("blocks are lists below their labels", async () => {
    const { body } = await parseHclConfig(TEXT, "agent.hcl");
    assert.deepEqual(body, {
      datacenter: "dc1",
      script: "server {\n  enabled = false\n}\n",
      server: [{ enabled: true }, { enabled: false }],
      plugin: { raw_exec: [{ config: [{ enabled: true }] }], mqtt: [{ config: [{ port: 1883 }] }] },
      client: [{ options: { "driver.denylist": "x" } }],
    });
  });

  test("positions are found past comments, strings and heredocs", async () => {
    const { locate } = await parseHclConfig(TEXT, "agent.hcl");
    assert.deepEqual(locate(["datacenter"]), { line: 2, column: 1 });
    assert.deepEqual(locate(["server", 0, "enabled"]), { line: 8, column: 3 });
    assert.deepEqual(locate(["server", 1, "enabled"]), { line: 33, column: 3 });
    assert.deepEqual(locate(["server", 1]), { line: 32, column: 1 });
    assert.deepEqual(locate(["plugin", "mqtt", 0, "config", 0, "port"]), { line: 18, column: 12 });
    assert.deepEqual(locate(["plugin", "mqtt"]), { line: 17, column: 8 });
    assert.deepEqual(locate(["client", 0, "options", "driver.denylist"]), { line: 28, column: 3 });
    assert.equal(locate(["client", 0, "nope"]), undefined);
    assert.equal(locate(["nope"]), undefined);
  });

  test("JSON is read with positions too", async () => {
    const { body, locate } = await parseHclConfig(
      '{\n  "a": [1, {"b": "}"}],\n  "c": {"d": null}\n}\n',
      "agent.json",
    );
    assert.deepEqual(body, { a: [1, { b: "}" }], c: { d: null } });
    assert.deepEqual(locate(["a", 1, "b"]), { line: 2, column: 13 });
    assert.deepEqual(locate(["c", "d"]), { line: 3, column: 9 });
    assert.equal(locate(["c", "e"]), undefined);
  });

  test("an attribute and a block of one name, and broken texts, are refused with a position", async () => {
    await assert.rejects(parseHclConfig("a = 1\na {}\n", "agent.hcl"), HclError);
    await assert.rejects(parseHclConfig("server {\n", "agent.hcl"), {
      message:
        "agent.hcl:2,1-1: Argument or block definition required; An argument or block definition is required here.",
    });
    await assert.rejects(parseHclConfig('{"a": 1,}', "agent.json"), /agent\.json:1,\d+-\d+: Invalid JSON/);
  });

  test("keys named like parts of every object are ordinary keys", async () => {
    const { body } = await parseHclConfig(
      "constructor = 1\n__proto__ = 2\ntoString {\n  a = 1\n}\n",
      "agent.hcl",
    );
    assert.deepEqual(Object.entries(body), [
      ["constructor", 1],
      ["__proto__", 2],
      ["toString", [{ a: 1 }]],
    ]);
  });

  test("a text above the limit is refused before it is parsed", async () => {
    await assert.rejects(parseHclConfig(`a = "${"x".repeat(2000)}"`, "big.hcl", { maxBytes: 1000 }), {
      message:
        "big.hcl:1,1-1: File too large; This text has 2006 bytes; at most 1000 are accepted. Move large data into artifacts or Consul or Vault keys.",
    });
  });

  test("a parser that takes too long is stopped, and the next text is parsed by a new one", async () => {
    // Twenty texts of a million bytes take the parser far longer than the millisecond they are given.
    const long = `a = [${"[1, 2, 3],\n".repeat(80_000)}]\n`;
    const all = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => parseHclConfig(long, `${i}.hcl`, { timeoutMs: 1 })),
    );
    const refused = all.flatMap((each) => (each.status === "rejected" ? [String(each.reason)] : []));
    assert.ok(refused.length > 0);
    for (const reason of refused) assert.match(reason, /did not finish within 1 ms/);
    assert.deepEqual((await parseHclConfig("a = 1\n", "next.hcl")).body, { a: 1 });
  });

  test("many texts at once each get their own answer", async () => {
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, i) => parseHclConfig(`a = ${i}\n`, `${i}.hcl`)),
    );
    assert.deepEqual(
      all.map(({ body }) => body.a),
      Array.from({ length: 50 }, (_, i) => i),
    );
  });
});
