/** The proof in network namespaces: a program for `startInNamespace`, with a seed and faults as its arguments. */
import type { FaultName } from "./faults.js";
import { prove } from "./proof.js";

const [seed, ...faults] = process.argv.slice(2);

await prove({
  seed: Number(seed),
  faults: faults as FaultName[],
  inNamespaces: true,
  say: (line) => console.log(line),
});
