import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { loadPlugin } from "../../../core/kernel/loader.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-loader-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** The brand is a registered symbol, so a plugin needs no SDK to be one. */
const source = (name: string) =>
  `export default { [Symbol.for("drover.plugin")]: true, name: "${name}", requires: [] };\n`;

async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

const load = (label: string, from?: string, publishers?: readonly string[]) =>
  loadPlugin(label, from, { packageRoots: [folder], ...(publishers === undefined ? {} : { publishers }) });

test("a built-in is found by its name and its alias", async () => {
  const byName = await load("scheduler-service");
  assert.equal(byName.plugin.name, "scheduler-service");
  assert.equal((await load("raw_exec")).plugin.name, "driver-raw-exec");
});

test("an unknown plugin is an error with the nearest built-in", async () => {
  await assert.rejects(
    load("consensus-rafft"),
    /plugin "consensus-rafft" is unknown; did you mean "consensus-raft"\?/,
  );
});

test("a plugin is loaded from a file", async () => {
  const { plugin, module } = await load("mine", await file("mine.mjs", source("mine")));
  assert.equal(plugin.name, "mine");
  assert.match(module, /^file:.*mine\.mjs$/);
});

test("a plugin is loaded from an npm package, by main, exports and subpath", async () => {
  await file("node_modules/by-main/package.json", '{"main":"lib.mjs"}');
  await file("node_modules/by-main/lib.mjs", source("a"));
  await file(
    "node_modules/@scope/by-exports/package.json",
    '{"exports":{".":{"import":"./e.mjs"},"./sub":"./s.mjs"}}',
  );
  await file("node_modules/@scope/by-exports/e.mjs", source("b"));
  await file("node_modules/@scope/by-exports/s.mjs", source("c"));
  assert.equal((await load("a", "by-main")).plugin.name, "a");
  assert.equal((await load("b", "@scope/by-exports")).plugin.name, "b");
  assert.equal((await load("c", "@scope/by-exports/sub")).plugin.name, "c");
  await assert.rejects(load("d", "@scope/by-exports/none"), /does not export "\.\/none"/);
  await assert.rejects(
    load("e", "no-such-package"),
    /npm package no-such-package is not installed in .*drover-loader-/,
  );
});

test("what is no plugin, has another name, breaks or is missing is an error that says so", async () => {
  await assert.rejects(
    load("x", await file("x.mjs", "export default {};")),
    /is no plugin; make it one with definePlugin/,
  );
  await assert.rejects(
    load("y", await file("y.mjs", source("z"))),
    /defines a plugin named "z"; label its block so/,
  );
  await assert.rejects(
    load("t", await file("t.mjs", 'throw new Error("at load");')),
    /can't be loaded from .*t\.mjs: at load/,
  );
  await assert.rejects(load("m", join(folder, "missing.mjs")), /source file .*missing\.mjs does not exist/);
});

test("with trusted publishers only a plugin that one of them signed is loaded", async () => {
  const keys = generateKeyPairSync("ed25519");
  const publisher = keys.publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
  const stranger = generateKeyPairSync("ed25519");
  const path = await file("signed.mjs", source("signed"));
  const refused = (why: RegExp) => assert.rejects(load("signed", path, [publisher]), why);

  await refused(/plugin "signed".*is refused: it has no signature; plugin_trust asks for .*signed\.mjs\.sig/);
  await file("signed.mjs.sig", "short");
  await refused(/is not an Ed25519 signature/);
  await file("signed.mjs.sig", sign(null, Buffer.from(source("signed")), stranger.privateKey));
  await refused(/not by any publisher of plugin_trust/);

  const signature = sign(null, Buffer.from(source("signed")), keys.privateKey);
  await file("signed.mjs.sig", signature);
  assert.equal((await load("signed", path, [publisher])).plugin.name, "signed");
  await file("signed.mjs.sig", `${signature.toString("base64")}\n`);
  assert.equal((await load("signed", path, [publisher])).plugin.name, "signed");
  await file("signed.mjs", `${source("signed")}// changed\n`);
  await refused(/changed after signing/);

  const scattered = `import "./other.mjs";\n${source("scattered")}`;
  await file("scattered.mjs.sig", sign(null, Buffer.from(scattered), keys.privateKey));
  await assert.rejects(
    load("scattered", await file("scattered.mjs", scattered), [publisher]),
    /sign a bundle of one file/,
  );
  assert.equal(
    (await load("scheduler-batch", undefined, [publisher])).plugin.name,
    "scheduler-batch",
    "built-ins need none",
  );
});
