/** A server in a process of its own, for tests that stop it: a line of the input is proposed, what happens is a line of output. */
import { createInterface } from "node:readline";
import { encode, ListMachine, server } from "./support.js";

const [endpoints, dataDir, prefix] = process.argv.slice(2);
const { consensus } = await server({ endpoints: endpoints!.split(",") }, dataDir!, prefix!);
const say = (line: string) => process.stdout.write(`${line}\n`);
await consensus.start(new ListMachine());
consensus.onLeadership((leader) => say(leader ? "leads" : "follows"));
for await (const command of createInterface({ input: process.stdin })) {
  // What a paused leader believes in its very first turn.
  say(`believes ${consensus.isLeader()}`);
  consensus.propose(encode(command)).then(
    () => say(`done ${command}`),
    (error: Error & { code?: string }) => say(`failed ${command} ${error.code ?? error.name}`),
  );
}
