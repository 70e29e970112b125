/** What consensus takes: commands a second beside etcd, elections, restarts with a large state, and catching up with it. */
import { parseArgs } from "node:util";

const USAGE =
  "one of --writers N [--bytes N --seconds N --clients N --etcd], --election N, --restart ALLOCATIONS [--runs N] or --catchup ALLOCATIONS [--rate N]";

export async function run(args: string[]): Promise<object> {
  const { values } = parseArgs({
    args,
    options: {
      writers: { type: "string" },
      bytes: { type: "string", default: "200" },
      seconds: { type: "string", default: "10" },
      clients: { type: "string", default: "1" },
      etcd: { type: "boolean", default: false },
      election: { type: "string" },
      restart: { type: "string" },
      runs: { type: "string", default: "3" },
      catchup: { type: "string" },
      rate: { type: "string", default: "200" },
    },
  });
  const whole = (name: keyof typeof values): number => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new Error(`--${name} must be a whole number above 0; it is "${String(values[name])}"`);
    }
    return value;
  };
  const chosen = (["writers", "election", "restart", "catchup"] as const).filter(
    (name) => values[name] !== undefined,
  );
  if (chosen.length !== 1) throw new Error(`usage: npm run bench -- consensus with ${USAGE}`);
  switch (chosen[0]) {
    case "writers": {
      const { measureWrites } = await import("./consensus-writes.js");
      return measureWrites({
        writers: whole("writers"),
        bytes: whole("bytes"),
        seconds: whole("seconds"),
        clients: whole("clients"),
        etcd: values.etcd,
      });
    }
    case "election": {
      const { measureElections } = await import("./consensus-election.js");
      return measureElections(whole("election"));
    }
    case "restart": {
      const { measureRestarts } = await import("./consensus-restart.js");
      return measureRestarts(whole("restart"), whole("runs"));
    }
    default: {
      const { measureCatchup } = await import("./consensus-catchup.js");
      return measureCatchup(whole("catchup"), whole("rate"));
    }
  }
}
