import { Cursor } from "./cursor.js";
import { ExpressionParser } from "./expression.js";
import type { Source } from "./source.js";
import type { Attribute, Block, Body, HclDocument } from "./syntax.js";

/** Deeper nesting of blocks than this is refused. */
const MAX_DEPTH = 100;

/** Reads the blocks and attributes of a text that the parser of hcl2json accepted. Throws HclError. */
export function readStructure(source: Source): HclDocument {
  const cursor = new Cursor(source);
  const body = readBody(cursor, new ExpressionParser(cursor), 0);
  if (!cursor.atEnd) {
    const range = { start: cursor.offset, end: cursor.offset + 1 };
    throw source.error(
      range,
      "Argument or block definition required",
      "An argument or block definition is required here.",
    );
  }
  return { source, body };
}

function readBody(cursor: Cursor, expressions: ExpressionParser, depth: number): Body {
  const start = cursor.offset;
  const attributes: Attribute[] = [];
  const blocks: Block[] = [];
  for (;;) {
    cursor.skipSpace();
    const nameStart = cursor.offset;
    const name = cursor.identifier();
    if (name === undefined) return { attributes, blocks, range: { start, end: cursor.offset } };
    const nameRange = { start: nameStart, end: cursor.offset };
    cursor.skipSpace(true);
    if (cursor.take("=")) attributes.push({ name, nameRange, expr: expressions.parse(true) });
    else blocks.push(readBlock(cursor, expressions, depth, { type: name, typeRange: nameRange }));
  }
}

function readBlock(
  cursor: Cursor,
  expressions: ExpressionParser,
  depth: number,
  head: Pick<Block, "type" | "typeRange">,
): Block {
  if (depth >= MAX_DEPTH) {
    throw cursor.source.error(
      head.typeRange,
      "Blocks nested too deeply",
      `Blocks may be nested ${MAX_DEPTH} levels deep.`,
    );
  }
  const labels: Block["labels"] = [];
  for (;;) {
    cursor.skipSpace(true);
    if (cursor.take("{")) break;
    const start = cursor.offset;
    const bare = cursor.identifier();
    const value = bare ?? quotedLabel(cursor, expressions);
    labels.push({ value, range: { start, end: cursor.offset } });
  }
  const body = readBody(cursor, expressions, depth + 1);
  cursor.expect("}", `the closing "}" of block "${head.type}"`);
  return { ...head, labels, body };
}

/** A block label is a plain string: escapes yes, interpolation no. */
function quotedLabel(cursor: Cursor, expressions: ExpressionParser): string {
  const start = cursor.offset;
  if (!cursor.startsWith('"')) throw cursor.unexpected("Expected a block label or an opening brace.");
  const label = expressions.parse(true);
  if (label.kind === "template") {
    const [only, more] = label.parts;
    if (only === undefined) return "";
    if (more === undefined && only.kind === "text") return only.value;
  }
  throw cursor.source.error(
    { start, end: cursor.offset },
    "Invalid block label",
    "A block label is plain text.",
  );
}
