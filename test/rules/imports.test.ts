import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const ROOMS = ["core", "plugins", "plugin-sdk", "workers", "test", "bench"];

/** A small tree with the rooms of the house and nothing that breaks a rule. */
const GOOD: Readonly<Record<string, string>> = {
  "plugin-sdk/token.ts": "export const token = 1;\n",
  "core/state/read/snapshot.ts": "export const snapshot = 1;\n",
  "core/state/store.ts": 'import { snapshot } from "./read/snapshot.js";\nexport const store = snapshot;\n',
  "core/server/server.ts": 'import { store } from "../state/store.js";\nexport const server = store;\n',
  "plugins/alpha/plugin.ts": 'import { helper } from "./helper.js";\nexport default helper;\n',
  "plugins/alpha/helper.ts": "export const helper = 1;\n",
  "plugins/beta/plugin.ts": "export default 2;\n",
  "workers/worker.ts":
    'import { snapshot } from "../core/state/read/snapshot.js";\nexport const worker = snapshot;\n',
  "test/one.test.ts": 'import { server } from "../core/server/server.js";\nexport const tested = server;\n',
  "bench/main.ts": 'import { server } from "../core/server/server.js";\nexport const measured = server;\n',
};

const VIOLATIONS: readonly { readonly rule: string; readonly file: string; readonly text: string }[] = [
  {
    rule: "sdk-imports-nothing-of-the-tree",
    file: "plugin-sdk/token.ts",
    text: 'export * from "../core/state/store.js";\n',
  },
  {
    rule: "plugins-import-only-the-sdk",
    file: "plugins/beta/plugin.ts",
    text: 'export * from "../../core/state/store.js";\n',
  },
  {
    rule: "plugins-never-import-each-other",
    file: "plugins/beta/plugin.ts",
    text: 'export * from "../alpha/helper.js";\n',
  },
  {
    rule: "core-never-imports-a-plugin",
    file: "core/server/server.ts",
    text: 'export const p = import("../../plugins/beta/plugin.js");\n',
  },
  {
    rule: "workers-read-state-only",
    file: "workers/worker.ts",
    text: 'export * from "../core/state/store.js";\n',
  },
  {
    rule: "reading-side-of-state-is-its-own",
    file: "core/state/read/snapshot.ts",
    text: 'import type { server } from "../../server/other.js";\nexport type S = typeof server;\n',
  },
  {
    rule: "product-code-never-imports-tests",
    file: "core/server/server.ts",
    text: 'export * from "../../bench/alone.js";\n',
  },
  {
    rule: "no-dev-dependency-in-the-product",
    file: "core/server/server.ts",
    text: 'import fc from "fast-check";\nexport const x = fc;\n',
  },
  {
    rule: "no-circular",
    file: "plugins/alpha/helper.ts",
    text: 'import type p from "./plugin.js";\nexport const helper = 1;\nexport type P = typeof p;\n',
  },
  { rule: "no-unresolvable", file: "core/server/server.ts", text: 'export * from "./nowhere.js";\n' },
];

/** Files that only a violation imports. */
const OTHERS = {
  "core/server/other.ts": "export const server = 1;\n",
  "bench/alone.ts": "export const alone = 1;\n",
};

let tree: string;
before(async () => {
  tree = await mkdtemp(join(tmpdir(), "drover-rules-"));
  for (const file of ["package.json", ".dependency-cruiser.cjs"])
    await cp(join(ROOT, file), join(tree, file));
  await symlink(join(ROOT, "node_modules"), join(tree, "node_modules"));
  for (const [file, text] of Object.entries({ ...GOOD, ...OTHERS })) await put(file, text);
});
after(() => rm(tree, { recursive: true, force: true }));

async function put(file: string, text: string): Promise<void> {
  await mkdir(dirname(join(tree, file)), { recursive: true });
  await writeFile(join(tree, file), text);
}

/** Runs the check as `npm run imports` does. */
function check(): Promise<{ code: number; output: string }> {
  const cruiser = join(ROOT, "node_modules", ".bin", "depcruise");
  const args = [cruiser, ...ROOMS, "--config", ".dependency-cruiser.cjs"];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: tree }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr });
    });
  });
}

test("a tree that keeps the rules passes", async () => {
  const { code, output } = await check();
  assert.equal(code, 0, output);
});

for (const { rule, file, text } of VIOLATIONS) {
  test(`the check fails and names the rule for a violation of ${rule}`, async () => {
    await put(file, text);
    try {
      const { code, output } = await check();
      assert.notEqual(code, 0, output);
      assert.match(output, new RegExp(`error ${rule}: ${file}`), output);
    } finally {
      await put(file, GOOD[file]!);
    }
  });
}
