/**
 * An agent in a process of its own, for tests that kill it: `node agent-process.js DATA_DIR [ALLOCATIONS.json]`. Prints one
 * JSON line for every report. Without a second argument it never reaches a server.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AssignedAllocation } from "@drover/plugin-sdk";
import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { ClientAgent } from "../../../plugins/client-agent/agent.js";
import { RawExecDriver } from "../../../plugins/driver-raw-exec/driver.js";
import { FakeLink, makeAgentInfo } from "./fixtures.js";

const [, , dataDir = "", file] = process.argv;
const link = new FakeLink(file !== undefined);
const original = link.call.bind(link);
link.call = (method, request) => {
  if (method === "allocation.update") process.stdout.write(`${JSON.stringify(request)}\n`);
  return original(method, request);
};
const agent = new ClientAgent({
  log: quietLogger,
  metrics: quietMetrics,
  agent: makeAgentInfo(dataDir),
  link,
  drivers: [
    new RawExecDriver(quietLogger, {
      enabled: true,
      stateDir: join(dataDir, "client"),
      denylist: [],
      linger: 500,
      tether: 0,
    }),
  ],
});
// Nothing else holds the process: every timer of the agent lets it go.
setInterval(() => undefined, 60_000);
if (file !== undefined) {
  const allocations = JSON.parse(readFileSync(file, "utf8")) as AssignedAllocation[];
  for (const allocation of allocations) link.assigned.set(allocation.ID, allocation);
}
await agent.start();
process.stdout.write('{"started":true}\n');
