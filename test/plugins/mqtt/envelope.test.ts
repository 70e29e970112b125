import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import nacl from "tweetnacl";
import {
  bulkKey,
  type Direction,
  Kind,
  openIntroduction,
  openPayload,
  RefusedPayload,
  type SealedHeader,
  sealBox,
  sealBulk,
  sealIntroduction,
} from "../../../plugins/mqtt/envelope.js";
import { createKeyPair, KeyAgreement } from "../../../plugins/mqtt/keys.js";
import { ReplayWindow, Session } from "../../../plugins/mqtt/session.js";

const cluster = createKeyPair();
const node = createKeyPair();
const shared = new KeyAgreement(node.secretKey).sharedKey(cluster.publicKey);
const topic = "drover/v1/global/up/n1";
const header: SealedHeader = {
  kind: Kind.frame,
  agentSession: randomBytes(16),
  serverSession: randomBytes(16),
  counter: 7,
};

const suites = {
  box: (body: Uint8Array) => sealBox(shared, topic, header, body),
  bulk: (body: Uint8Array) =>
    sealBulk(bulkKey(shared, "up", header.agentSession, header.serverSession), topic, header, body),
};

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof RefusedPayload, String(error));
    return error.reason;
  }
  throw new Error("the payload was taken");
}

for (const [name, seal] of Object.entries(suites)) {
  describe(`a payload of the ${name} suite`, () => {
    it("opens to what was sealed", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 3_000 }), (body) => {
          const opened = openPayload(shared, "up", topic, seal(body));
          assert.deepEqual(new Uint8Array(opened.body), body);
          assert.equal(opened.header.kind, header.kind);
          assert.equal(opened.header.counter, header.counter);
          assert.ok(header.agentSession.every((byte, index) => byte === opened.header.agentSession[index]));
          assert.ok(header.serverSession.every((byte, index) => byte === opened.header.serverSession[index]));
        }),
      );
    });

    it("is refused after any bit flip", () => {
      const sealed = seal(randomBytes(40));
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const flipped = Buffer.from(sealed);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        refusal(() => openPayload(shared, "up", topic, flipped));
      }
    });

    it("is refused when it is cut anywhere, and with bytes added", () => {
      const sealed = seal(randomBytes(40));
      for (let length = 0; length < sealed.length; length++) {
        refusal(() => openPayload(shared, "up", topic, sealed.subarray(0, length)));
      }
      assert.equal(
        refusal(() => openPayload(shared, "up", topic, sealed.subarray(0, 40))),
        "truncated",
      );
      refusal(() => openPayload(shared, "up", topic, Buffer.concat([sealed, Buffer.alloc(1)])));
    });

    it("is refused on another topic and under another key", () => {
      const sealed = seal(Buffer.from("body"));
      for (const other of ["drover/v1/global/up/n2", "drover/v1/global/down/n1", "drover/v1/other/up/n1"]) {
        assert.equal(
          refusal(() => openPayload(shared, "up", other, sealed)),
          "forged",
        );
      }
      const stranger = new KeyAgreement(createKeyPair().secretKey).sharedKey(cluster.publicKey);
      assert.equal(
        refusal(() => openPayload(stranger, "up", topic, sealed)),
        "forged",
      );
    });

    it("shows nothing of the body", () => {
      const body = Buffer.from("job-name-of-somebody ".repeat(20));
      assert.equal(seal(body).includes("job-name"), false);
    });
  });
}

describe("random bytes", () => {
  it("are refused, whatever they are", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.constantFrom<Direction>("up", "down"),
        (bytes, direction) => {
          refusal(() => openPayload(shared, direction, topic, Buffer.from(bytes)));
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

describe("a bulk payload", () => {
  it("is refused in the other direction", () => {
    const sealed = suites.bulk(Buffer.from("body"));
    assert.equal(
      refusal(() => openPayload(shared, "down", topic, sealed)),
      "forged",
    );
  });
});

describe("an introduction", () => {
  const agreement = new KeyAgreement(cluster.secretKey);
  const sealed = sealIntroduction(
    shared,
    node.publicKey,
    topic,
    { ...header, kind: Kind.enroll },
    Buffer.from("x"),
  );

  it("opens with the key in front of it, and names that key", () => {
    const opened = openIntroduction((key) => agreement.sharedKey(key), topic, sealed);
    assert.deepEqual(opened.publicKey, node.publicKey);
    assert.equal(opened.body.toString(), "x");
  });

  it("is refused after any bit flip, the key's included", () => {
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      // X25519 ignores the top bit of a public key (RFC 7748), so the seal still opens; the body names the key.
      if (bit === (2 + 31) * 8 + 7) continue;
      const flipped = Buffer.from(sealed);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      refusal(() => openIntroduction((key) => agreement.sharedKey(key), topic, flipped));
    }
  });

  it("is refused for a key of low order", () => {
    const low = Buffer.from(sealed);
    low.fill(0, 2, 34);
    assert.equal(
      refusal(() => openIntroduction((key) => agreement.sharedKey(key), topic, low)),
      "forged",
    );
  });
});

describe("the key that two peers share", () => {
  it("is the one NaCl computes", () => {
    for (let round = 0; round < 20; round++) {
      const [ours, theirs] = [createKeyPair(), nacl.box.keyPair()];
      const expected = nacl.box.before(theirs.publicKey, ours.secretKey);
      assert.deepEqual(new KeyAgreement(ours.secretKey).sharedKey(theirs.publicKey), expected);
      assert.deepEqual(new KeyAgreement(theirs.secretKey).sharedKey(ours.publicKey), expected);
    }
  });
});

describe("a session", () => {
  it("seals small and large bodies so that the other side opens them, and counts up", () => {
    const session = new Session(shared, "up", header.agentSession, header.serverSession);
    for (const [index, size] of [1, 100, 1_023, 1_024, 70_000].entries()) {
      const body = randomBytes(size);
      const opened = openPayload(shared, "up", topic, session.seal(topic, Kind.frame, body));
      assert.ok(opened.body.equals(body));
      assert.equal(opened.header.counter, index + 1);
      assert.ok(session.matches(opened.header));
    }
  });
});

describe("the replay window", () => {
  it("takes every counter at most once, in whatever order they come", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 500 }), (counters) => {
        const window = new ReplayWindow();
        const taken = new Set<number>();
        let highest = 0;
        for (const counter of counters) {
          const fresh = counter > 0 && !taken.has(counter) && counter > highest - 256;
          assert.equal(window.accept(counter), fresh, `counter ${counter}, highest ${highest}`);
          if (fresh) taken.add(counter);
          highest = Math.max(highest, counter);
        }
      }),
    );
  });
});
