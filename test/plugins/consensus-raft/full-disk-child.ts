/** Proposes until its log may not grow any more, and prints what it saw as JSON. Its parent limits the size of its files. */
import { encode, ListMachine, server, startAlone } from "./support.js";

// The limit's signal would end the process; with a listener the write fails instead, as it does on a full disk.
process.on("SIGXFSZ", () => undefined);

const machine = new ListMachine();
const { consensus, failures } = await server(process.argv[2]!, { trailing_logs: 0 });
await startAlone(consensus, machine);
let acknowledged = 0;
const refusals: string[] = [];
while (refusals.length < 20 && acknowledged < 10_000) {
  try {
    await consensus.propose(encode(`${acknowledged} ${"x".repeat(2000)}`));
    acknowledged++;
  } catch (error) {
    refusals.push((error as { code?: string }).code ?? (error as Error).message);
  }
}
const leader = consensus.isLeader();
await consensus.barrier();
await consensus.stop();
process.stdout.write(JSON.stringify({ acknowledged, refusals, leader, failures: failures.map(String) }));
