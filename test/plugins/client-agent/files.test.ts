import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { FileFrame } from "@drover/plugin-sdk";
import { RemoteError } from "@drover/plugin-sdk";
import { fileMode, rfc3339 } from "../../../plugins/client-agent/files/listing.js";
import { FileService } from "../../../plugins/client-agent/files/service.js";
import { until } from "./fixtures.js";
import { temporaryFolder } from "./harness.js";

function makeFiles(live: { value: boolean } = { value: false }) {
  const parent = temporaryFolder();
  const folder = join(parent, "alloc-1");
  mkdirSync(join(folder, "alloc/logs"), { recursive: true });
  mkdirSync(join(folder, "server/local"), { recursive: true });
  mkdirSync(join(folder, "server/secrets"), { recursive: true });
  writeFileSync(join(parent, "outside.txt"), "outside");
  const service = new FileService((id) => {
    if (id !== "alloc-1") throw new RemoteError("not_found", `Unknown allocation "${id}"`);
    return { folder, tasks: ["server"], live: () => live.value };
  });
  return { parent, folder, service };
}

async function text(frames: AsyncIterable<FileFrame>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const frame of frames) parts.push(frame.Data ?? new Uint8Array());
  return Buffer.concat(parts).toString();
}

const read = (service: FileService, path: string, offset = 0, limit = 0) =>
  text(service.read({ allocId: "alloc-1", path, offset, limit }, new AbortController().signal));
const logs = (service: FileService, overrides: object = {}, signal = new AbortController().signal) =>
  service.logs(
    {
      allocId: "alloc-1",
      task: "server",
      type: "stdout",
      follow: false,
      origin: "start",
      offset: 0,
      ...overrides,
    },
    signal,
  );

test("files are listed, described and read as recorded", async () => {
  const { folder, service } = makeFiles();
  writeFileSync(join(folder, "server/local/info.txt"), "alloc 1b2cb536");
  const info = await service.stat("alloc-1", "/server/local/info.txt");
  assert.equal(info.ContentType, "text/plain; charset=utf-8");
  assert.deepEqual(
    { Name: info.Name, Size: info.Size, IsDir: info.IsDir },
    { Name: "info.txt", Size: 14, IsDir: false },
  );
  assert.match(info.ModTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
  assert.deepEqual(
    (await service.list("alloc-1", "/")).map((entry) => entry.Name),
    ["alloc", "server"],
  );
  assert.equal(await read(service, "/server/local/info.txt", 2, 5), "loc 1");
  assert.equal(fileMode(0o041777), "dtrwxrwxrwx");
  assert.equal(fileMode(0o100644), "-rw-r--r--");
  assert.equal(rfc3339(1795445352526243614n), "2026-11-23T14:49:12.526243614Z");
});

test("no path and no link leads out of the allocation's folder", async () => {
  const { parent, folder, service } = makeFiles();
  symlinkSync(join(parent, "outside.txt"), join(folder, "server/local/link"));
  symlinkSync(parent, join(folder, "server/local/up"));
  symlinkSync("../../../outside.txt", join(folder, "alloc/logs/server.stdout.0"));
  const escapes = new RemoteError("bad_request", "Path escapes the alloc directory");
  for (const path of [
    "/../../../../etc/passwd",
    "../outside.txt",
    "server/local/link",
    "server/local/up/outside.txt",
    "server/../../outside.txt",
  ]) {
    await assert.rejects(read(service, path), escapes, path);
    await assert.rejects(service.stat("alloc-1", path), escapes, path);
  }
  await assert.rejects(service.list("alloc-1", "server/local/up"), escapes);
  await assert.rejects(text(logs(service)), /escapes/);
});

test("secrets are never shown, not even through a link", async () => {
  const { folder, service } = makeFiles();
  writeFileSync(join(folder, "server/secrets/token"), "hidden");
  symlinkSync("../secrets/token", join(folder, "server/local/token"));
  for (const path of ["server/secrets/token", "server/local/token"]) {
    await assert.rejects(read(service, path), /Reading secret file prohibited: server\/secrets\/token/);
    await assert.rejects(service.stat("alloc-1", path), /prohibited/);
  }
  await assert.rejects(service.list("alloc-1", "server/secrets"), /prohibited/);
});

test("what isn't there has a clear error", async () => {
  const { service } = makeFiles();
  await assert.rejects(
    read(service, "server/local/none"),
    new RemoteError("not_found", "server/local/none: no such file or directory"),
  );
  await assert.rejects(
    service.list("other", "/"),
    new RemoteError("not_found", 'Unknown allocation "other"'),
  );
  await assert.rejects(
    text(logs(service, { task: "nope" })),
    new RemoteError("bad_request", 'unknown task name "nope"'),
  );
  await assert.rejects(read(service, "server/local"), /not a regular file/);
});

test("a log is one text over its rotated files, from either end", async () => {
  const { folder, service } = makeFiles();
  const log = join(folder, "alloc/logs/server.stdout.");
  writeFileSync(`${log}3`, "aaaa");
  writeFileSync(`${log}4`, "bbbb");
  writeFileSync(`${log}10`, "cc");
  assert.equal(await text(logs(service)), "aaaabbbbcc");
  assert.equal(await text(logs(service, { offset: 6 })), "bbcc");
  assert.equal(await text(logs(service, { origin: "end", offset: 3 })), "bcc");
  assert.equal(await text(logs(service, { origin: "end", offset: 1000 })), "aaaabbbbcc");
  const frames: FileFrame[] = [];
  for await (const frame of logs(service, { offset: 9 })) frames.push(frame);
  assert.deepEqual(
    frames.map(({ File, Offset }) => ({ File, Offset })),
    [{ File: "alloc/logs/server.stdout.10", Offset: 2 }],
  );
});

test("a followed log goes on over a rotation and ends with the task", async () => {
  const live = { value: true };
  const { folder, service } = makeFiles(live);
  const log = join(folder, "alloc/logs/server.stdout.");
  let seen = "";
  const reading = (async () => {
    for await (const frame of logs(service, { follow: true }))
      seen += Buffer.from(frame.Data ?? []).toString();
  })();
  writeFileSync(`${log}0`, "one ");
  await until("the first line", () => seen === "one ");
  appendFileSync(`${log}0`, "two ");
  await until("the second", () => seen === "one two ");
  writeFileSync(`${log}1`, "three");
  await until("the rotated file", () => seen === "one two three");
  live.value = false;
  await reading;
});

test("a followed log ends when its reader leaves", async () => {
  const { folder, service } = makeFiles({ value: true });
  writeFileSync(join(folder, "alloc/logs/server.stdout.0"), "x");
  const leave = new AbortController();
  const reading = text(logs(service, { follow: true }, leave.signal));
  leave.abort();
  assert.ok(["", "x"].includes(await reading));
});
