import { createHash, randomUUID } from "node:crypto";
import { FunctionError, type HclFunction } from "../evaluate.js";
import type { HclValue } from "../syntax.js";
import { type HclObject, isObject, setKey } from "../values.js";
import { fn } from "./arguments.js";

const hash = (algorithm: string): HclFunction =>
  fn(1, 1, (a) => createHash(algorithm).update(a.string(0)).digest("hex"));

function base64decode(text: string): string {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw new FunctionError("the text is not base64");
  }
  const bytes = Buffer.from(text, "base64");
  const decoded = bytes.toString("utf8");
  if (!Buffer.from(decoded).equals(bytes)) throw new FunctionError("the decoded bytes are not UTF-8 text");
  return decoded;
}

function jsondecode(text: string): HclValue {
  try {
    return JSON.parse(text) as HclValue;
  } catch (error) {
    throw new FunctionError(
      `the text is not JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** JSON as Go writes it: keys sorted, <, > and & escaped. */
function jsonencode(value: HclValue): string {
  const ordered = (v: HclValue): HclValue => {
    if (Array.isArray(v)) return v.map(ordered);
    if (!isObject(v)) return v;
    const result: HclObject = {};
    for (const key of Object.keys(v).sort()) setKey(result, key, ordered(v[key]!));
    return result;
  };
  return JSON.stringify(ordered(value)).replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

/** Rows of RFC 4180 text as objects keyed by the first row. */
function csvdecode(text: string): HclValue {
  const rows: string[][] = [];
  let row: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  while (cell.lastIndex < text.length) {
    const found = cell.exec(text);
    if (found === null) throw new FunctionError(`line ${rows.length + 1} is not CSV`);
    row.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? "");
    if (found[3] !== ",") {
      rows.push(row);
      row = [];
    } else if (cell.lastIndex === text.length) {
      rows.push([...row, ""]);
      row = [];
    }
  }
  const [header, ...body] = rows;
  if (header === undefined) throw new FunctionError("there is no header line");
  return body.map((cells, i) => {
    if (cells.length !== header.length) {
      throw new FunctionError(`line ${i + 2} has ${cells.length} cells, the header has ${header.length}`);
    }
    const result: HclObject = {};
    for (const [j, name] of header.entries()) setKey(result, name, cells[j]!);
    return result;
  });
}

/** Name-based UUID (RFC 4122, SHA-1) in one of the well-known namespaces or one given as a UUID. */
function uuidv5(namespace: string, name: string): string {
  const known: Record<string, string> = { dns: "0", url: "1", oid: "2", x500: "4" };
  const digit = Object.hasOwn(known, namespace) ? known[namespace] : undefined;
  const uuid = digit === undefined ? namespace : `6ba7b81${digit}-9dad-11d1-80b4-00c04fd430c8`;
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) {
    throw new FunctionError("the namespace must be dns, url, oid, x500 or a UUID");
  }
  const bytes = createHash("sha1")
    .update(Buffer.from(uuid.replaceAll("-", ""), "hex"))
    .update(name)
    .digest();
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString("hex", 0, 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Percent encoding with + for blanks, as Go's url.QueryEscape. */
function urlencode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

export const encodingFunctions: Readonly<Record<string, HclFunction>> = {
  base64decode: fn(1, 1, (a) => base64decode(a.string(0))),
  base64encode: fn(1, 1, (a) => Buffer.from(a.string(0)).toString("base64")),
  csvdecode: fn(1, 1, (a) => csvdecode(a.string(0))),
  jsondecode: fn(1, 1, (a) => jsondecode(a.string(0))),
  jsonencode: fn(1, 1, (a) => jsonencode(a.any(0))),
  urlencode: fn(1, 1, (a) => urlencode(a.string(0))),
  md5: hash("md5"),
  sha1: hash("sha1"),
  sha256: hash("sha256"),
  sha512: hash("sha512"),
  uuidv4: fn(0, 0, () => randomUUID()),
  uuidv5: fn(2, 2, (a) => uuidv5(a.string(0), a.string(1))),
};
