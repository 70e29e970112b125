/**
 * The seal of an archive: a second, empty member of the gzip file (RFC 1952, section 2.2), whose comment is the SHA-256 of
 * all bytes before it. Tools that unpack gzip files see nothing of it. gzip's own checksum covers what is unpacked: a
 * changed header, padding, or another encoding of the same bytes pass it.
 */
import { createHash } from "node:crypto";
import { Transform } from "node:stream";
import { ArchiveError } from "./layout.js";

/** Magic, deflate, a comment follows, no time, no hints, no system. */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);
/** An empty block of deflate; checksum and length of nothing. */
const EMPTY = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

function sealOf(sha256: string): Buffer {
  return Buffer.concat([HEADER, Buffer.from(`drover sha256:${sha256}\0`, "latin1"), EMPTY]);
}

const LENGTH = sealOf("0".repeat(64)).length;

/** Passes a gzip file on and adds the seal. */
export function seal(): Transform {
  const hash = createHash("sha256");
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
    flush(done) {
      done(null, sealOf(hash.digest("hex")));
    },
  });
}

/** Passes on what was sealed; fails at the end with an ArchiveError where the seal is another or is missing. */
export function unseal(): Transform {
  const hash = createHash("sha256");
  let held: Buffer = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const all = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const end = Math.max(0, all.length - LENGTH);
      held = all.subarray(end);
      const passed = all.subarray(0, end);
      hash.update(passed);
      done(null, passed);
    },
    flush(done) {
      const whole = held.equals(sealOf(hash.digest("hex")));
      done(
        whole
          ? null
          : new ArchiveError(
              "it is damaged, cut short, or no snapshot archive of Drover: its seal does not match its bytes",
            ),
      );
    },
  });
}
