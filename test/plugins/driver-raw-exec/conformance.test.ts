import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { quietLogger, testTaskDriver } from "@drover/plugin-sdk/testing";
import { RawExecDriver } from "../../../plugins/driver-raw-exec/driver.js";

const stateDir = mkdtempSync(join(tmpdir(), "drover-raw-exec-"));
after(() => rmSync(stateDir, { recursive: true, force: true }));

testTaskDriver("raw_exec", {
  create: () =>
    new RawExecDriver(quietLogger, { enabled: true, stateDir, denylist: [], linger: 1000, tether: 0 }),
  script: (text) => ({ command: "/bin/sh", args: ["-c", text] }),
  unstartable: { command: "no-such-program-anywhere" },
  invalid: { comand: "/bin/true", args: "x" },
});
