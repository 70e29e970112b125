/** Snapshots asked for on a follower, over a network of servers in this process. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { test } from "node:test";
import {
  type Consensus,
  EndpointError,
  NotLeaderError,
  type Peer,
  type SavedSnapshot,
} from "@drover/plugin-sdk";
import { eventually, MemoryNetwork } from "@drover/plugin-sdk/testing";
import { Snapshots } from "../../../../core/rpc/endpoints/snapshots.js";
import { Hold } from "../../../../core/rpc/forwarding/hold.js";
import type { SnapshotArchives } from "../../../../core/server/snapshots/archives.js";

const LEADER = "10.0.0.1:4647";
const FOLLOWER = "10.0.0.2:4647";
const forever = new AbortController().signal;
const ARCHIVE = randomBytes(3_000_000);

interface Server {
  readonly snapshots: Snapshots;
  /** What its archives were asked for. */
  readonly asked: string[];
  readonly received: Buffer[];
  /** Called for each restore once the archive has arrived, before that when it throws. */
  restoring: (source: AsyncIterable<Uint8Array>) => Promise<number>;
  saved: Readable | undefined;
  refuse: Error | undefined;
  leads: boolean;
}

function cluster(): {
  network: MemoryNetwork;
  leader: Server;
  follower: Server;
  known: { leader: string | undefined };
} {
  const network = new MemoryNetwork();
  const known = { leader: LEADER as string | undefined };
  const server = (address: string): Server => {
    const made: Server = {
      asked: [],
      received: [],
      restoring: async (source) => {
        for await (const chunk of source) made.received.push(Buffer.from(chunk));
        return 42;
      },
      saved: undefined,
      refuse: undefined,
      leads: address === LEADER,
      snapshots: undefined as unknown as Snapshots,
    };
    const peer = (): Peer | undefined =>
      known.leader === undefined
        ? undefined
        : { id: known.leader, address: known.leader, voter: true, leader: true };
    const consensus = {
      id: address,
      isLeader: () => made.leads,
      leader: peer,
      barrier: async () => 7,
    } as unknown as Consensus;
    const archives = {
      async save(): Promise<SavedSnapshot> {
        made.asked.push("save");
        if (made.refuse !== undefined) throw made.refuse;
        made.saved = Readable.from([ARCHIVE.subarray(0, 1_000_000), ARCHIVE.subarray(1_000_000)]);
        const sha256 = createHash("sha256").update(ARCHIVE).digest("base64");
        return { index: 7, term: 3, size: ARCHIVE.length, sha256, archive: made.saved };
      },
      async restore(begin: () => AsyncIterable<Uint8Array>): Promise<number> {
        made.asked.push("restore");
        if (made.refuse !== undefined) throw made.refuse;
        return made.restoring(begin());
      },
    } as unknown as SnapshotArchives;
    (made as { snapshots: Snapshots }).snapshots = new Snapshots(
      consensus,
      archives,
      network.join(address),
      new Hold({ timeout: 300, waiting: 10 }),
    );
    made.snapshots.serve();
    return made;
  };
  return { network, leader: server(LEADER), follower: server(FOLLOWER), known };
}

function* pieces(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test("a follower streams the leader's snapshot, and its own with stale", async () => {
  const { leader, follower } = cluster();
  const saved = await follower.snapshots.save({ stale: false }, forever);
  assert.deepEqual([saved.index, saved.term, saved.size], [7, 3, ARCHIVE.length]);
  assert.deepEqual(Buffer.concat(await saved.archive.toArray()), ARCHIVE);
  assert.deepEqual([leader.asked, follower.asked], [["save"], []]);
  const stale = await follower.snapshots.save({ stale: true }, forever);
  stale.archive.destroy();
  assert.deepEqual([leader.asked, follower.asked], [["save"], ["save"]]);
});

test("a reader that goes away ends the leader's work too", async () => {
  const { leader, follower } = cluster();
  const saved = await follower.snapshots.save({ stale: false }, forever);
  saved.archive.destroy();
  await eventually("the leader's archive is closed", () => leader.saved?.destroyed === true);
});

test("an archive that arrives short is an error, not a snapshot", async () => {
  const { network, leader, follower } = cluster();
  leader.restoring = async () => 0;
  const saved = await follower.snapshots.save({ stale: false }, forever);
  const reading = saved.archive.toArray();
  network.cut(FOLLOWER, LEADER);
  await assert.rejects(reading);
  assert.ok(saved.size > 0);
});

test("the leader's refusals come to the follower's caller as they were", async () => {
  const { leader, follower } = cluster();
  leader.refuse = new EndpointError(507, "no room for a snapshot");
  await assert.rejects(follower.snapshots.save({ stale: false }, forever), {
    status: 507,
    message: "no room for a snapshot",
  });
  leader.refuse = new EndpointError(429, "a snapshot is being restored already");
  await assert.rejects(follower.snapshots.restore(Readable.from([ARCHIVE]), forever), { status: 429 });
  leader.refuse = undefined;
  leader.restoring = async (source) => {
    // Refused at its first bytes: what follows is not waited for.
    for await (const _ of source) throw new EndpointError(400, "the snapshot archive is refused");
    return 0;
  };
  await assert.rejects(follower.snapshots.restore(Readable.from(pieces(ARCHIVE, 10_000)), forever), {
    name: "EndpointError",
    status: 400,
    message: "the snapshot archive is refused",
  });
  leader.restoring = async (source) => {
    for await (const _ of source);
    throw new Error("the disk broke");
  };
  await assert.rejects(follower.snapshots.restore(Readable.from([ARCHIVE]), forever), {
    status: 500,
    message: "the disk broke",
  });
});

test("a follower hands an archive on to the leader, whole and as it comes", async () => {
  const { leader, follower } = cluster();
  assert.deepEqual(await follower.snapshots.restore(Readable.from(pieces(ARCHIVE, 65_537)), forever), {
    Index: 42,
  });
  assert.deepEqual(Buffer.concat(leader.received), ARCHIVE);
  assert.deepEqual(follower.asked, []);
});

test("a caller that breaks off leaves the leader with an archive that does not end well", async () => {
  const { leader, follower } = cluster();
  let seen: "whole" | "broken" | undefined;
  leader.restoring = async (source) => {
    let bytes = 0;
    try {
      for await (const chunk of source) bytes += chunk.length;
    } catch (error) {
      seen = "broken";
      throw error;
    }
    seen = bytes === ARCHIVE.length ? "whole" : "broken";
    throw new EndpointError(400, "cut short");
  };
  async function* breaking(): AsyncGenerator<Buffer> {
    yield ARCHIVE.subarray(0, 100_000);
    throw new Error("the client is gone");
  }
  await assert.rejects(follower.snapshots.restore(breaking(), forever));
  await eventually("the leader knows", () => seen !== undefined);
  assert.equal(seen, "broken");
});

test("a link that breaks in the middle of a restore is told, and nothing is repeated", async () => {
  const { network, leader, follower } = cluster();
  leader.restoring = async (source) => {
    for await (const _ of source) network.isolate(LEADER);
    return 1;
  };
  await assert.rejects(follower.snapshots.restore(Readable.from(pieces(ARCHIVE, 1_000)), forever));
  assert.deepEqual(leader.asked, ["restore"]);
});

test("without a leader a request waits for one, and then says that there is none", async () => {
  const { leader, follower, known } = cluster();
  known.leader = undefined;
  leader.leads = false;
  await assert.rejects(follower.snapshots.save({ stale: false }, forever), {
    status: 500,
    message: "No cluster leader",
  });
  await assert.rejects(follower.snapshots.restore(Readable.from([ARCHIVE]), forever), {
    message: "No cluster leader",
  });
  // One that is elected meanwhile is asked; also where the first one named has lost it.
  known.leader = LEADER;
  leader.refuse = new NotLeaderError(undefined);
  const waiting = follower.snapshots.restore(Readable.from([ARCHIVE]), forever);
  leader.leads = true;
  leader.refuse = undefined;
  assert.deepEqual(await waiting, { Index: 42 });
});
