import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { readFile } from "node:fs/promises";
import { PluginError, reasonOf } from "./errors.js";

/** DER prefix of an Ed25519 public key (RFC 8410, section 4); the 32 bytes of the key follow. */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const MAX_BUNDLE_BYTES = 64 * 1024 * 1024;
const RELATIVE_IMPORT = /\b(?:from|import|require)\s*\(?\s*["']\.{1,2}\//;

/** Reads a publisher's key: base64 of its 32 bytes, as tweetnacl and `node:crypto` give it. Throws an Error. */
export function publisherKey(text: string): KeyObject {
  const raw = Buffer.from(text, "base64");
  if (raw.length !== 32)
    throw new Error(`"${text}" is not a publisher key: base64 of a 32-byte Ed25519 public key is needed`);
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: "der", type: "spki" });
}

/**
 * Checks that `file` is signed by one of the publishers: `FILE.sig` holds the detached Ed25519 signature of the file's
 * bytes, raw (64 bytes) or base64. Only that file is covered, so it must be a bundle: a relative import is refused.
 * Throws `PluginError`.
 */
export async function verifySignature(
  plugin: string,
  file: string,
  publishers: readonly string[],
): Promise<void> {
  const fail = (why: string, cause?: unknown) =>
    new PluginError(
      plugin,
      `plugin "${plugin}" (${file}) is refused: ${why}`,
      cause === undefined ? undefined : { cause },
    );
  const bundle = await readFile(file).catch((error: unknown) => {
    throw fail(`it can't be read: ${reasonOf(error)}`, error);
  });
  if (bundle.length > MAX_BUNDLE_BYTES) throw fail(`it is larger than ${MAX_BUNDLE_BYTES} bytes`);
  const signature = await readFile(`${file}.sig`).catch((error: NodeJS.ErrnoException) => {
    const why =
      error.code === "ENOENT" ? "it has no signature" : `its signature can't be read (${error.message})`;
    throw fail(`${why}; plugin_trust asks for ${file}.sig by one of its publishers`, error);
  });
  const raw =
    signature.length === 64 ? signature : Buffer.from(signature.toString("latin1").trim(), "base64");
  if (raw.length !== 64) throw fail(`${file}.sig is not an Ed25519 signature (64 bytes, or base64 of them)`);
  if (!publishers.some((publisher) => verify(null, bundle, publisherKey(publisher), raw))) {
    throw fail(
      "its signature is not by any publisher of plugin_trust, or the file was changed after signing",
    );
  }
  if (RELATIVE_IMPORT.test(bundle.toString("utf8"))) {
    throw fail("it imports files next to it, which its signature does not cover; sign a bundle of one file");
  }
}
