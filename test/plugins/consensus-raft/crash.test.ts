import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { encode, ListMachine, server, startAlone, temporaryFolder } from "./support.js";

const FULL_DISK_CHILD = fileURLToPath(new URL("./full-disk-child.js", import.meta.url));
const CHILD = fileURLToPath(new URL("./crash-child.js", import.meta.url));

/** Runs a server until it acknowledged `acknowledgements` commands, kills it, and gives every acknowledgement it printed. */
async function runUntilKilled(dataDir: string, acknowledgements: number): Promise<[number, string][]> {
  const child = spawn(process.execPath, [CHILD, dataDir], { stdio: ["ignore", "pipe", "inherit"] });
  const acknowledged: [number, string][] = [];
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const [index, command, end] = line.split(" ");
      if (command !== undefined && end === ".") acknowledged.push([Number(index), command]);
      if (acknowledged.length >= acknowledgements) child.kill("SIGKILL");
    }
  } finally {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  return acknowledged;
}

describe("a server whose disk is full", () => {
  it("refuses commands without harm, keeps leading, and has every acknowledged one when there is space again", async () => {
    const folder = await temporaryFolder();
    try {
      // 8 MiB in the blocks of 512 bytes that POSIX counts in; a file beyond it can't be written, as on a full disk.
      const script = `ulimit -S -f 16384; exec "$0" "$@"`;
      const child = spawn("/bin/sh", ["-c", script, process.execPath, FULL_DISK_CHILD, folder.path], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exit = once(child, "exit");
      const output = await text(child.stdout);
      assert.deepEqual(await exit, [0, null]);
      const seen = JSON.parse(output) as {
        acknowledged: number;
        refusals: string[];
        leader: boolean;
        failures: string[];
      };
      assert.ok(seen.acknowledged > 100);
      assert.deepEqual([...new Set(seen.refusals)], ["ERR_DISK_FULL"]);
      assert.equal(seen.leader, true);
      assert.deepEqual(seen.failures, []);
      const machine = new ListMachine();
      const { consensus } = await server(folder.path);
      await startAlone(consensus, machine);
      await consensus.propose(encode("after"));
      await consensus.stop();
      const numbers = machine.commands.map((command) => command.split(" ")[0]);
      assert.deepEqual(numbers, [
        ...Array.from({ length: seen.acknowledged }, (_, number) => String(number)),
        "after",
      ]);
    } finally {
      await folder.remove();
    }
  });
});

describe("a killed server", () => {
  it("has every acknowledged command after each of several kills, in order and once", async () => {
    const folder = await temporaryFolder();
    try {
      const acknowledged: [number, string][] = [];
      for (let round = 0; round < 6; round++) {
        const seen = await runUntilKilled(folder.path, 1 + Math.floor(Math.random() * 1500));
        assert.ok(seen.length > 0);
        acknowledged.push(...seen);
        const machine = new ListMachine();
        const { consensus } = await server(folder.path);
        await startAlone(consensus, machine);
        await consensus.stop();
        const kept = new Map(machine.commands.map((command, position) => [command, position]));
        assert.equal(kept.size, machine.commands.length, "no command twice");
        const missing = acknowledged.filter(([, command]) => !kept.has(command));
        assert.deepEqual(missing, [], `round ${round}: acknowledged and lost`);
        const ordered = [...acknowledged].sort(([a], [b]) => a - b).map(([, command]) => kept.get(command)!);
        assert.deepEqual(
          ordered,
          [...ordered].sort((a, b) => a - b),
          "commands are in the order of their indexes",
        );
      }
    } finally {
      await folder.remove();
    }
  });
});
