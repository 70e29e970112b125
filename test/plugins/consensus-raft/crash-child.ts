/** Proposes numbered commands for ever and prints the index and number of each acknowledged one; its parent kills it. */
import { encode, ListMachine, server, startAlone } from "./support.js";

const dataDir = process.argv[2]!;
const machine = new ListMachine();
const { consensus } = await server(dataDir, {
  snapshot_threshold: 200,
  snapshot_interval: 0,
  trailing_logs: 50,
});
await startAlone(consensus, machine);

async function work(worker: number): Promise<never> {
  for (let number = 0; ; number++) {
    const command = `${process.pid}-${worker}-${number}`;
    const { index } = await consensus.propose(encode(command));
    // The end mark tells a whole line from one that the kill cut off.
    process.stdout.write(`${index} ${command} .\n`);
  }
}
await Promise.all(Array.from({ length: 32 }, (_, worker) => work(worker)));
