import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { HclError, parseHclConfig, parseJob } from "../../../../core/jobspec/index.js";

async function value(expression: string): Promise<unknown> {
  return (await parseHclConfig(`v = ${expression}\n`, "test.hcl")).body.v;
}

const message = async (expression: string): Promise<string> => {
  const error = await value(expression).then(
    () => assert.fail(`${expression} was accepted`),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof HclError, String(error));
  return error.message;
};

describe("expressions", () => {
  const cases: [string, unknown][] = [
    ["1 + 2 * 3 - 4 / 2", 5],
    ["-(1 + 2) % 2", -1],
    ["!true || 1 < 2 && 2 >= 2", true],
    ['1 == "1"', false],
    ["[1, [2]] == [1, [2]]", true],
    ['true ? "a" : "b"', "a"],
    ["[for x in [1, 2, 3] : x * 2 if x != 2]", [2, 6]],
    ['[for k, v in { b = 1, a = 2 } : "${k}${v}"]', ["a2", "b1"]],
    ['{ for x in [1, 2] : "k${x}" => x }', { k1: 1, k2: 2 }],
    ['{ for x in ["a", "b", "ab"] : substr(x, 0, 1) => x... }', { a: ["a", "ab"], b: ["b"] }],
    ["[{ a = 1 }, { a = 2 }][*].a", [1, 2]],
    ["[{ a = [1] }, { a = [2] }].*.a.0", [1, 2]],
    ["{ a = { b = [5] } }.a.b[0]", 5],
    ['{ (upper("k")) = 1, "x-y" : 2 }', { K: 1, "x-y": 2 }],
    ["max([3, 9, 4]...)", 9],
    ['try({}.a, "fallback")', "fallback"],
    ["can([1][7])", false],
    ['convert("5", number)', 5],
    ['"%{ if true }yes%{ else }no%{ endif }"', "yes"],
    ['"%{ for x in ["a", "b"] ~}\n  ${x}\n%{ endfor ~}"'.replaceAll("\n", "\\n"), "a\nb\n"],
    ['"a ${~ "b" ~} c"', "abc"],
    ['"tab\\t quote\\" unicode\\u00e9 \\U0001F600"', 'tab\t quote" unicodeé 😀'],
    ["<<EOT\na\n  b \\n ${1 + 1}\nEOT\n", "a\n  b \\n 2\n"],
    ["<<-EOT\n    a\n\n      b\n    EOT\n", "a\n\n  b\n"],
    ['<<-EOT\n    ${"x"}\n      b\n    EOT\n', "x\n  b\n"],
    ["<<EOT\n$${kept} %%{kept}\nEOT\n", "${kept} %{kept}\n"],
    ["[\n  1, # one\n  2, /* two */\n]", [1, 2]],
    ["null", null],
    ['"${[1, 2]}"', [1, 2]],
  ];
  for (const [expression, expected] of cases) {
    test(expression, async () => assert.deepEqual(await value(expression), expected));
  }
});

describe("functions", () => {
  const cases: [string, unknown][] = [
    ["[abs(-1), ceil(1.2), floor(1.8), pow(2, 3), signum(-4), log(8, 2)]", [1, 2, 1, 8, -1, 3]],
    ['[parseint("ff", 16), min(3, 1), max(3, 1)]', [255, 1, 3]],
    [
      '[chomp("a\\n"), upper("a"), lower("A"), title("ab cd"), strrev("abc"), strlen("é😀")]',
      ["a", "A", "a", "Ab Cd", "cba", 2],
    ],
    [
      '[trim("?a?", "?"), trimprefix("ab", "a"), trimsuffix("ab", "b"), trimspace("  a ")]',
      ["a", "b", "a", "a"],
    ],
    [
      '[substr("hello", 1, 2), substr("hello", -3, -1), replace("aXa", "a", "b"), indent(2, "a\\nb")]',
      ["el", "llo", "bXb", "a\n  b"],
    ],
    ['regex_replace("a1b22", "[0-9]+", "#")', "a#b#"],
    ['regex_replace("key=val", "(?P<k>\\\\w+)=(\\\\w+)", "$2:${1}")'.replace("${1}", "$1"), "val:key"],
    ['[split(",", "a,b"), join("-", ["a", "b"])]', [["a", "b"], "a-b"]],
    ['format("%s %05d %.2f %q %v %x %%", "a", 42, 1.5, "q", true, 255)', 'a 00042 1.50 "q" true ff %'],
    ['formatlist("%s-%s", ["a", "b"], "x")', ["a-x", "b-x"]],
    [
      '[chunklist([1, 2, 3], 2), coalesce(null, 2), coalescelist([], [1]), compact(["", "a"])]',
      [[[1, 2], [3]], 2, [1], ["a"]],
    ],
    [
      "[concat([1], [2]), contains([1, 2], 2), distinct([1, 1]), element([1, 2], 3), flatten([[1], [[2]]])]",
      [[1, 2], true, [1], 2, [1, 2]],
    ],
    [
      "[index([5, 6], 1), keys({ b = 1, a = 2 }), values({ b = 1, a = 2 }), length([1, 2])]",
      [6, ["a", "b"], [2, 1], 2],
    ],
    [
      '[lookup({ a = 1 }, "b", 0), merge({ a = 1 }, { a = 2, b = 3 }), range(1, 4), reverse([1, 2])]',
      [0, { a: 2, b: 3 }, [1, 2, 3], [2, 1]],
    ],
    [
      "[setintersection([1, 2], [2]), setunion([1], [2]), setsubtract([1, 2], [1]), setproduct([1], [2, 3])]",
      [
        [2],
        [1, 2],
        [2],
        [
          [1, 2],
          [1, 3],
        ],
      ],
    ],
    ['[slice([1, 2, 3], 1, 2), sort(["b", "a"]), zipmap(["a"], [1])]', [[2], ["a", "b"], { a: 1 }]],
    [
      '[base64encode("hé"), base64decode("aMOp"), urlencode("a b&c"), jsonencode({ b = 1, a = "<" })]',
      ["aMOp", "hé", "a+b%26c", '{"a":"\\u003c","b":1}'],
    ],
    [
      '[jsondecode("{\\"a\\": [1]}"), csvdecode("a,b\\n1,\\"x,y\\"\\n")]',
      [{ a: [1] }, [{ a: "1", b: "x,y" }]],
    ],
    ['md5("a")', "0cc175b9c0f1b6a831c399e269772661"],
    ['sha256("")', "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ['uuidv5("dns", "www.example.com")', "2ed6657d-e927-568b-95e1-2665a8aea6a2"],
    [
      '[formatdate("YYYY-MM-DD\'T\'hh:mm:ssZ EEE D MMM AA H", "2021-03-04T15:06:07+02:00"), timeadd("2021-01-01T00:00:00Z", "1h30m")]',
      ["2021-03-04T15:06:07+02:00 Thu 4 Mar PM 3", "2021-01-01T01:30:00Z"],
    ],
    [
      '[cidrhost("10.1.0.0/16", 5), cidrnetmask("10.0.0.0/12"), cidrsubnet("10.0.0.0/8", 8, 2), cidrsubnet("fd00::/48", 16, 7)]',
      ["10.1.0.5", "255.240.0.0", "10.2.0.0/16", "fd00:0:0:7::/64"],
    ],
    ['cidrsubnets("10.0.0.0/16", 8, 4)', ["10.0.0.0/24", "10.0.16.0/20"]],
  ];
  for (const [expression, expected] of cases) {
    test(expression, async () => assert.deepEqual(await value(expression), expected));
  }

  test("uuidv4 and timestamp have their formats", async () => {
    assert.match(String(await value("uuidv4()")), /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    assert.match(String(await value("timestamp()")), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  test("files are read relative to the job file where that is allowed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "drover-jobspec-"));
    try {
      writeFileSync(join(folder, "motd.txt"), "hello\n");
      const text = `job "x" {
  meta {
    file  = file("motd.txt")
    there = fileexists("nope")
    set   = join(",", fileset(".", "*.txt"))
    name  = basename("/a/b.c")
  }
}`;
      const job = await parseJob(text, { filename: join(folder, "job.hcl"), allowFS: true });
      assert.deepEqual(job.Meta, { file: "hello\n", there: "false", set: "motd.txt", name: "b.c" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("mistakes in expressions have a place and a reason", () => {
  const cases: [string, RegExp][] = [
    ["1 / 0", /:1,9-10: Division by zero/],
    ['"a${null}"', /:1,9-13: Invalid template interpolation value; A string is required here, not null/],
    ['"a${[1]}"', /:1,9-12: Invalid template interpolation value; A string is required here, not a list/],
    ['1 + "x"', /:1,9-12: Unsuitable value type; A number is required here/],
    ["[1][2]", /:1,9-10: Invalid index; The list has 1 elements/],
    ['{ a = 1 }["b"]', /Unsupported attribute/],
    ['upper("a", "b")', /Call to function "upper" failed: it takes 1 arguments, not 2/],
    ["upper([1])", /argument 1 must be a string, it is list/],
    ["[for x in 5 : x]", /Iteration over non-iterable value/],
    ["{ for x in [1, 1] : x => x }", /Duplicate object key/],
    ['base64decode("?")', /not base64/],
    ['regex_replace("a", "(?=a)", "b")', /invalid or unsupported Perl syntax/],
    ["foo", /Unknown variable; There is no variable named "foo"/],
  ];
  for (const [expression, expected] of cases) {
    test(expression, async () => assert.match(await message(expression), expected));
  }

  test("work is bounded, and try() does not hide that", async () => {
    const nested = "[for a in range(1000) : [for b in range(1000) : a]]";
    assert.match(await message(nested), /Evaluation too expensive/);
    assert.match(await message(`try(${nested}, 1)`), /Evaluation too expensive/);
    const growing = `[for a in range(1000) : join("", [for b in range(50) : "${"x".repeat(1000)}"])]`;
    assert.match(await message(growing), /more than \d+ characters/);
  });

  test("nesting is bounded", async () => {
    assert.match(await message(`${"(".repeat(300)}1${")".repeat(300)}`), /nested too deeply/);
  });
});

test("literal documents mean the same to HashiCorp's parser", async () => {
  const { parse } = createRequire(import.meta.url)("@cdktn/hcl2json") as {
    parse(file: string, text: string): Promise<unknown>;
  };
  const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,6}$/);
  const text = fc
    .string({ unit: "grapheme", maxLength: 12 })
    .filter((s) => !/[\p{Cs}\p{Cc}]/u.test(s.normalize("NFC")) && s === s.normalize("NFC"));
  const quote = (s: string) => JSON.stringify(s).replaceAll("${", "$${").replaceAll("%{", "%%{");
  const literal: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      text.map(quote),
      fc.integer({ min: -1e9, max: 1e9 }).map(String),
      fc.boolean().map(String),
      fc.array(tie("value"), { maxLength: 3 }).map((items) => `[\n${items.join(",\n")}]`),
      fc
        .uniqueArray(fc.tuple(name, tie("value")), { selector: ([k]) => k, maxLength: 3 })
        .map((pairs) => `{\n${pairs.map(([k, v]) => `${quote(k)} = ${v}`).join("\n")}\n}`),
    ),
  })).value;
  const attributes = fc
    .uniqueArray(fc.tuple(name, literal), { selector: ([k]) => k, maxLength: 4 })
    .map((pairs) => pairs.map(([k, v]) => `${k} = ${v} # comment { "`).join("\n"));
  const within = (inner: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc
      .tuple(attributes, fc.array(fc.tuple(fc.stringMatching(/^B[a-z]{1,3}$/), inner), { maxLength: 3 }))
      .map(([own, blocks]) => [own, ...blocks.map(([k, text]) => `${k} {\n${text}\n}`)].join("\n"));
  const body = within(within(attributes));
  // hcl2json keeps "$${" escaped, because what it prints is a template again.
  const unescaped = (json: unknown): unknown =>
    JSON.parse(JSON.stringify(json).replaceAll("$${", "${").replaceAll("%%{", "%{"));
  await fc.assert(
    fc.asyncProperty(body, async (document) => {
      const source = `${document}\n`;
      const ours = (await parseHclConfig(source, "test.hcl")).body;
      assert.deepEqual(JSON.parse(JSON.stringify(ours)), unescaped(await parse("test.hcl", source)));
    }),
    { numRuns: 150 },
  );
});
