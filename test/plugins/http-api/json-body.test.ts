import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseDuration } from "../../../plugins/http-api/duration.js";
import { describeSyntaxError, parseBody } from "../../../plugins/http-api/json-body.js";

test("syntax errors are worded as Go's encoding/json words them", () => {
  const cases: [text: string, message: string][] = [
    ["{not json", "invalid character 'n' looking for beginning of object key string"],
    ["not", "invalid character 'o' in literal null (expecting 'u')"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b":2}', "invalid character '\"' after object key:value pair"],
    ["[1 2]", "invalid character '2' after array element"],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ["{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
    ['{"a":', "unexpected EOF"],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ["-x", "invalid character 'x' in numeric literal"],
    ["1.x", "invalid character 'x' after decimal point in numeric literal"],
    ["1ex", "invalid character 'x' in exponent of numeric literal"],
    ["{} x", "invalid character 'x' after top-level value"],
    ["<html>", "invalid character '<' looking for beginning of value"],
    ["  ", "EOF"],
    ["[".repeat(20_000), "exceeded max depth"],
  ];
  for (const [text, message] of cases) assert.equal(describeSyntaxError(text), message, text.slice(0, 40));
});

test("whatever the body, it is parsed or refused with 400 and a reason", () => {
  const json = fc
    .json()
    .chain((text) =>
      fc
        .tuple(fc.constant(text), fc.nat(text.length), fc.string({ maxLength: 3 }))
        .map(([t, at, junk]) => t.slice(0, at) + junk + t.slice(at)),
    );
  fc.assert(
    fc.property(json, (text) => {
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      if (valid || text === "") return;
      assert.throws(
        () => parseBody(Buffer.from(text)),
        (error: { status?: number; message: string }) => {
          assert.equal(error.status, 400);
          assert.notEqual(error.message, "invalid JSON", text);
          return true;
        },
      );
    }),
    { numRuns: 2000 },
  );
});

test("an empty body is refused by name", () => {
  assert.throws(() => parseBody(undefined), /Request body is empty/);
});

test("durations are read as Go reads them", () => {
  assert.equal(parseDuration("100ms"), 100e6);
  assert.equal(parseDuration("1m30s"), 90e9);
  assert.equal(parseDuration("1.5h"), 5400e9);
  assert.equal(parseDuration("-2s"), -2e9);
  assert.equal(parseDuration("0"), 0);
  for (const bad of ["", "5", "s", "1x", "1m 2s", "ms1", "1..2s"])
    assert.equal(parseDuration(bad), undefined, bad);
});
