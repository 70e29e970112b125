/** Many rounds of faults at random: SEED=N npm test -- --long faults.long repeats what was done to whom. */
import { it } from "node:test";
import { Random } from "../../simulation/random.js";
import { type FaultName, NETWORK_FAULTS, PROCESS_FAULTS } from "./faults.js";
import { namespacesMissing } from "./namespaces.js";
import { prove } from "./proof.js";
import { proveInNamespaces } from "./separate.js";

const ROUNDS = 40;

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const random = new Random(seed);
const names = (faults: object): FaultName[] => Object.keys(faults) as FaultName[];
const choose = (from: readonly FaultName[]): FaultName[] =>
  Array.from({ length: ROUNDS }, () => random.pick(from));

it("loses nothing in many rounds of kills and pauses", async (t) => {
  t.diagnostic(`SEED=${seed}`);
  const faults = choose(names(PROCESS_FAULTS));
  await prove({ faults, seed, inNamespaces: false, say: (line) => t.diagnostic(line) });
});

it("loses nothing in many rounds of kills, pauses and partitions", async (t) => {
  t.diagnostic(`SEED=${seed}`);
  const missing = namespacesMissing();
  if (missing !== undefined) {
    t.skip(missing);
    return;
  }
  await proveInNamespaces(t, seed, choose(names({ ...PROCESS_FAULTS, ...NETWORK_FAULTS })));
});
