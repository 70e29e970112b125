/** The commands that talk to an agent. */
import type { Command } from "commander";
import { register as alloc } from "./alloc.js";
import { register as deployment } from "./deployment.js";
import { register as evaluation } from "./eval.js";
import { register as job } from "./job.js";
import { register as node } from "./node.js";
import { register as operator } from "./operator.js";
import { register as server } from "./server.js";
import { register as status } from "./status.js";
import { register as system } from "./system.js";
import { register as tls } from "./tls.js";
import { register as version } from "./version.js";

export function registerCommands(program: Command): void {
  for (const register of [
    job,
    status,
    alloc,
    deployment,
    evaluation,
    node,
    operator,
    server,
    system,
    tls,
    version,
  ])
    register(program);
}
