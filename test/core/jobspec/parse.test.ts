import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  canonicalizeForApi,
  canonicalizeForState,
  EmptyJobError,
  HclError,
  type ParseJobOptions,
  parseHclConfig,
  parseJob,
  parseJobFile,
  validateJob,
} from "../../../core/jobspec/index.js";
import { examples, JOB_FILES, jobText, recorded } from "./fixtures.js";

interface Exchange {
  request: { JobHCL: string; Canonicalize: boolean };
  status: number;
  response: unknown;
}

async function failure(text: string, options?: ParseJobOptions): Promise<HclError> {
  try {
    await parseJob(text, options);
  } catch (error) {
    if (error instanceof HclError) return error;
    throw error;
  }
  return assert.fail("the text was accepted");
}

const group = (inside: string) => `job "x" {\n  group "g" {\n${inside}\n  }\n}\n`;

describe("recorded answers of POST /v1/jobs/parse", () => {
  for (const [i, exchange] of (recorded("parse-exchanges.json") as Exchange[]).entries()) {
    test(`exchange ${i + 1} is answered with status ${exchange.status} exactly as recorded`, async () => {
      const { JobHCL, Canonicalize } = exchange.request;
      if (exchange.status === 200) {
        const job = await parseJob(JobHCL);
        assert.deepEqual(Canonicalize ? canonicalizeForApi(job) : job, exchange.response);
      } else {
        await assert.rejects(parseJob(JobHCL), { message: exchange.response as string });
      }
    });
  }

  test("an empty text has an error of its own", async () => {
    await assert.rejects(parseJob(""), EmptyJobError);
  });

  for (const name of JOB_FILES) {
    test(`${name}.hcl is accepted and valid`, async () => {
      const job = canonicalizeForState(await parseJob(jobText(name)));
      assert.deepEqual(validateJob(job), { errors: [], warnings: [] });
    });
  }
});

describe("blocks of the specification", () => {
  test("constraint shorthands become operands", async () => {
    const job = await parseJob(
      group(`
    constraint { distinct_hosts = true }
    constraint { distinct_property = "\${meta.rack}" }
    constraint {
      attribute = "\${attr.consul.version}"
      semver    = ">= 1.6.0"
    }
    constraint {
      attribute = attr.kernel.name
      operator  = "is_set"
    }
    constraint {
      attribute    = "\${meta.a}"
      set_contains = "x,y"
    }`),
    );
    assert.deepEqual(job.TaskGroups?.[0]?.Constraints, [
      { LTarget: "", Operand: "distinct_hosts", RTarget: "" },
      { LTarget: "${meta.rack}", Operand: "distinct_property", RTarget: "" },
      { LTarget: "${attr.consul.version}", Operand: "semver", RTarget: ">= 1.6.0" },
      { LTarget: "${attr.kernel.name}", Operand: "is_set", RTarget: "" },
      { LTarget: "${meta.a}", Operand: "set_contains", RTarget: "x,y" },
    ]);
  });

  test("ports are static with a number and dynamic without", async () => {
    const job = await parseJob(
      group(`    network {
      mode = "bridge"
      port "a" { static = 80 }
      port "b" {
        to           = 8080
        host_network = "public"
      }
      dns { servers = ["1.1.1.1"] }
    }`),
    );
    const [network] = job.TaskGroups?.[0]?.Networks ?? [];
    assert.deepEqual(network?.ReservedPorts, [{ HostNetwork: "", Label: "a", To: 0, Value: 80 }]);
    assert.deepEqual(network?.DynamicPorts, [{ HostNetwork: "public", Label: "b", To: 8080, Value: 0 }]);
    assert.deepEqual(network?.DNS, { Servers: ["1.1.1.1"], Searches: null, Options: null });
  });

  test("connect with proxy, upstreams and exposed paths", async () => {
    const job = await parseJob(
      group(`    service {
      name = "api"
      port = "9001"
      connect {
        sidecar_service {
          proxy {
            upstreams {
              destination_name = "db"
              local_bind_port  = 5432
            }
            expose {
              path {
                path            = "/health"
                protocol        = "http"
                local_path_port = 9001
                listener_port   = "expose"
              }
            }
          }
        }
        sidecar_task {
          resources { cpu = 50 }
        }
      }
    }`),
    );
    const stored = canonicalizeForState(job).TaskGroups[0]?.Services?.[0]?.Connect;
    assert.deepEqual(stored?.SidecarService?.Proxy?.Upstreams, [
      { Datacenter: "", DestinationName: "db", LocalBindAddress: "", LocalBindPort: 5432, MeshGateway: null },
    ]);
    assert.deepEqual(stored?.SidecarService?.Proxy?.Expose, {
      Paths: [{ ListenerPort: "expose", LocalPathPort: 9001, Path: "/health", Protocol: "http" }],
    });
    assert.equal(stored?.SidecarTask?.Resources?.CPU, 50);
    assert.equal(stored?.SidecarTask?.Resources?.MemoryMB, 300);
  });

  test("vault of the job is the default of every task", async () => {
    const job = await parseJob(`job "x" {
  vault { policies = ["a"] }
  group "g" {
    task "one" { driver = "d" }
    task "two" {
      vault { policies = ["b"] }
    }
  }
}`);
    const policies = job.TaskGroups?.[0]?.Tasks?.map((task) => task.Vault?.Policies);
    assert.deepEqual(policies, [["a"], ["b"]]);
  });

  test("a task right below the job is a group of its own", async () => {
    const job = await parseJob('job "x" {\n  task "alone" {\n    driver = "d"\n  }\n}');
    assert.equal(job.TaskGroups?.[0]?.Name, "alone");
    assert.equal(job.TaskGroups?.[0]?.Tasks?.[0]?.Driver, "d");
  });

  test("groups and tasks keep the order of the text", async () => {
    const job = await parseJob('job "x" {\n  group "b" {}\n  group "a" {}\n  group "c" {}\n}');
    assert.deepEqual(
      job.TaskGroups?.map((each) => each.Name),
      ["b", "a", "c"],
    );
  });

  test("a task's config keeps types, and nested blocks become lists of maps", async () => {
    const job = await parseJob(
      group(`    task "t" {
      config {
        count = 3
        ratio = 1.5
        on    = true
        map   = { a = 1 }
        mount {
          type = "bind"
        }
        mount {
          type = "volume"
          volume_options "x" { size = 1 }
        }
      }
    }`),
    );
    assert.deepEqual(job.TaskGroups?.[0]?.Tasks?.[0]?.Config, {
      count: 3,
      ratio: 1.5,
      on: true,
      map: { a: 1 },
      mount: [{ type: "bind" }, { type: "volume", volume_options: [{ x: [{ size: 1 }] }] }],
    });
  });

  test("meta and env are accepted as block and as map, with scalars as text", async () => {
    const job = await parseJob(
      'job "x" {\n  meta = { a = 1 }\n  group "g" {\n    meta {\n      b = true\n    }\n  }\n}',
    );
    assert.deepEqual(job.Meta, { a: "1" });
    assert.deepEqual(job.TaskGroups?.[0]?.Meta, { b: "true" });
  });

  test("what belongs to the runtime stays exactly as written", async () => {
    const written = [
      "${attr.kernel.name}",
      "${node.unique.id}",
      '${meta["a-b"]}',
      '${env["HOME"]}',
      "${NOMAD_PORT_http}",
      "${unique.hostname}",
      "${device.model}",
      "${driver.docker}",
      "${dc}",
    ];
    const values = written.map((text, i) => `        v${i} = "pre ${text} post"`).join("\n");
    const job = await parseJob(
      group(`    task "t" {\n      env {\n${values}\n        lit = "$\${dollars}"\n      }\n    }`),
    );
    const expected = Object.fromEntries(written.map((text, i) => [`v${i}`, `pre ${text} post`]));
    assert.deepEqual(job.TaskGroups?.[0]?.Tasks?.[0]?.Env, { ...expected, lit: "${dollars}" });
  });
});

describe("variables, locals and dynamic blocks", () => {
  const text = `variable "names" {
  type    = list(string)
  default = ["a", "b"]
}
variable "count" {
  type = number
  validation {
    condition     = var.count < 10
    error_message = "The count must be small."
  }
}
locals {
  joined = join("-", local.upper)
  upper  = [for name in var.names : upper(name)]
}
job "x" {
  group "g" {
    count = var.count
    meta {
      joined = local.joined
    }
    dynamic "task" {
      for_each = var.names
      iterator = each
      labels   = ["t-\${each.value}"]
      content {
        driver = "d\${each.key}"
      }
    }
  }
}
`;
  const names = async (options: ParseJobOptions) => {
    const job = await parseJob(text, options);
    const first = job.TaskGroups?.[0];
    return {
      count: first?.Count,
      joined: first?.Meta?.joined,
      tasks: first?.Tasks?.map((t) => `${t.Name} ${t.Driver}`),
    };
  };

  test("values come from the command line, variable files and the environment, in this order", async () => {
    const env = { NOMAD_VAR_count: "1", NOMAD_VAR_names: '["env"]' };
    assert.deepEqual(await names({ env }), { count: 1, joined: "ENV", tasks: ["t-env d0"] });
    const varFiles = [{ filename: "v.hcl", text: 'count = 2\nunused = "x"\n' }];
    assert.deepEqual(await names({ env, varFiles }), { count: 2, joined: "ENV", tasks: ["t-env d0"] });
    const json = [{ filename: "v.json", text: '{"count": 3, "names": ["p", "q"]}' }];
    assert.deepEqual(await names({ varFiles: json, variables: { count: "4" } }), {
      count: 4,
      joined: "P-Q",
      tasks: ["t-p d0", "t-q d1"],
    });
  });

  test("a variable without a value is named with what to do", async () => {
    const error = await failure(text);
    assert.match(error.message, /^input\.hcl:5,10-18: Unset variable "count"; .*NOMAD_VAR_count/);
  });

  test("a validation that does not hold gives its own message", async () => {
    const error = await failure(text, { variables: { count: "10" } });
    assert.match(
      error.message,
      /^input\.hcl:8,21-35: Invalid value for variable "count"; The count must be small\.$/,
    );
  });

  test("a value of the wrong type, an unknown -var and a circle of locals", async () => {
    assert.match(
      (await failure(text, { variables: { count: "true" } })).message,
      /a number is required, not bool/,
    );
    assert.match(
      (await failure(text, { variables: { cuont: "1", count: "1" } })).message,
      /Did you mean "count"\?/,
    );
    const circle = 'locals {\n  a = local.b\n  b = "${local.a}"\n}\njob "x" {}';
    assert.match((await failure(circle)).message, /Circular local value/);
  });
});

describe("what is wrong is said with its place", () => {
  const cases: [name: string, text: string, message: RegExp][] = [
    [
      "unknown argument",
      group("    cuont = 1"),
      /^input\.hcl:3,5-10: Unsupported argument; An argument named "cuont" is not expected here\. Did you mean "count"\? \(in job "x", group "g"\)$/,
    ],
    [
      "unknown block",
      group("    tsk {}"),
      /^input\.hcl:3,5-8: Unsupported block type; Blocks of type "tsk" .*"task"/,
    ],
    [
      "argument for a block",
      group("    network = 1"),
      /:3,5-12: Unsupported argument; .*Did you mean to define a block of type "network"\?/,
    ],
    [
      "block for an argument",
      group("    count {}"),
      /:3,5-10: Unsupported block type; .*Did you mean to define argument "count"\?/,
    ],
    [
      "wrong type",
      group('    count = "three"'),
      /:3,13-20: Incorrect attribute value type; .*"count": a whole number is required/,
    ],
    ["fraction", group("    count = 1.5"), /a whole number is required, not 1\.5/],
    [
      "bad duration",
      group('    shutdown_delay = "5x"'),
      /a duration such as "30s" or "1h5m" is required, not "5x"/,
    ],
    ["second block", group("    update {}\n    update {}"), /:4,5-11: Duplicate update block; .*line 3/],
    ["missing label", 'job "x" {\n  group {}\n}', /:2,3-8: Missing name for group/],
    ["label too many", 'job "x" {\n  group "a" "b" {}\n}', /:2,13-17: Extraneous label for group/],
    [
      "unknown function",
      group('    count = uper("a")'),
      /:3,13-17: Call to unknown function; .*Did you mean "upper"\?/,
    ],
    [
      "unknown variable",
      group('    meta {\n      a = "${nod.name}"\n    }'),
      /:4,14-17: Unknown variable; .*Did you mean "node"\?/,
    ],
    [
      "undeclared var",
      'variable "image" {\n  default = ""\n}\njob "x" {\n  name = var.imgae\n}',
      /:5,14-19: Unknown variable; "var" has no "imgae"\. Did you mean "image"\?/,
    ],
    ["no job", 'variable "a" {\n  default = 1\n}', /Missing job block/],
    ["two jobs", 'job "x" {}\njob "y" {}', /:2,1-4: Duplicate job block/],
    [
      "two shorthands",
      group('    constraint {\n      version = "1"\n      regexp  = "a"\n    }'),
      /"version" and "regexp" exclude each other/,
    ],
  ];
  for (const [name, text, message] of cases) {
    test(name, async () => assert.match((await failure(text)).message, message));
  }

  test("everything at once, in the order of the text", async () => {
    const error = await failure(
      group('    cuont = 1\n    count = "x"\n    tsk {}\n    meta {\n      a = foo.bar\n    }'),
    );
    assert.deepEqual(
      error.diagnostics.map((d) => d.line),
      [3, 4, 5, 7],
    );
    assert.equal(error.line, 3);
    assert.equal(error.column, 5);
    assert.equal(error.snippet, "    cuont = 1\n    ^");
  });

  test("errors of the HCL parser keep its texts, positions and the name of the file", async () => {
    const error = await failure('job "x" {\n  a = 1\n  a = 2\n}', { filename: "jobs/web.hcl" });
    assert.equal(
      error.message,
      'jobs/web.hcl:3,3-4: Attribute redefined; The argument "a" was already set at jobs/web.hcl:2,3-4. Each argument may be set only once.',
    );
    const two = await failure("job {\n  = 1\n}\nx = [\n");
    assert.ok(two.diagnostics.length >= 1);
    assert.equal(two.file, "input.hcl");
  });

  test("a file function is refused where files are out of bounds", async () => {
    assert.match((await failure(group('    meta {\n      a = file("x")\n    }'))).message, /command line/);
  });
});

describe("job JSON", () => {
  test("is accepted wrapped and bare, and gives what the same HCL gives", async () => {
    const job = await parseJob(jobText("web"));
    assert.deepEqual(await parseJob(JSON.stringify({ Job: job })), job);
    assert.deepEqual(await parseJob(JSON.stringify(job)), job);
  });

  test("wrong types are reported all at once with their places", async () => {
    const error = await failure(
      '{"Job": {"ID": 1,\n"TaskGroups": [{"Name": "g",\n"Count": "x"}],\n"Meta": []}}',
    );
    assert.deepEqual(
      error.diagnostics.map((d) => `${d.line},${d.column} ${d.detail}`),
      [
        "1,10 Job.ID: a string is required, not a number.",
        "3,1 Job.TaskGroups[0].Count: a whole number is required, not a string.",
        "4,1 Job.Meta: a map is required, not a list.",
      ],
    );
  });

  test("broken JSON has a position", async () => {
    const error = await failure('{"Job": {\n  "ID": }}');
    assert.match(error.message, /^input\.hcl:\d+,\d+-\d+: Invalid JSON/);
  });
});

describe("the examples", () => {
  for (const name of ["hello", "batch", "web"]) {
    test(`${name}.hcl is a valid job`, async () => {
      const job = canonicalizeForState(await parseJobFile(fileURLToPath(new URL(`${name}.hcl`, examples))));
      assert.deepEqual(validateJob(job), { errors: [], warnings: [] });
    });
  }

  for (const name of ["server", "client"]) {
    test(`agent/${name}.hcl can be read`, async () => {
      const text = readFileSync(new URL(`agent/${name}.hcl`, examples), "utf8");
      const { body, locate } = await parseHclConfig(text, `${name}.hcl`);
      assert.deepEqual(Object.keys(body).slice(0, 3), ["region", "datacenter", "data_dir"]);
      assert.ok(locate([name, 0, "enabled"]));
    });
  }
});
