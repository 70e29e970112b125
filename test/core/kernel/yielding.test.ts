import assert from "node:assert/strict";
import { test } from "node:test";
import { createToken, definePlugin, type Token } from "@drover/plugin-sdk";
import { orderPlugins } from "../../../core/kernel/order.js";
import { withoutSuperfluous } from "../../../core/kernel/yielding.js";

const Log = createToken<unknown>("TestLog");
const Other = createToken<unknown>("TestOther");
const Many = createToken<unknown>("TestMany", "multiple");
const plugin = (name: string, ...provides: Token<unknown>[]) => ({
  plugin: definePlugin({ name, provides, register() {} }),
});
const names = (loaded: readonly ReturnType<typeof plugin>[], ...named: string[]) =>
  withoutSuperfluous(loaded, (name) => named.includes(name)).map((one) => one.plugin.name);

test("a named plugin takes the place of a built-in that nobody named", () => {
  assert.deepEqual(names([plugin("first", Log), plugin("second", Log)], "second"), ["second"]);
});

test("a built-in stays where none is named, and where it provides something else too", () => {
  assert.deepEqual(names([plugin("first", Log), plugin("other", Other)], "other"), ["first", "other"]);
  assert.deepEqual(names([plugin("first", Log, Other), plugin("second", Log)], "second"), [
    "first",
    "second",
  ]);
  assert.deepEqual(names([plugin("first", Many), plugin("second", Many)], "second"), ["first", "second"]);
  assert.deepEqual(names([plugin("first"), plugin("second", Log)], "second"), ["first", "second"]);
});

test("two that are named stay, and the error says to turn one off", () => {
  const both = withoutSuperfluous([plugin("first", Log), plugin("second", Log)], () => true).map(
    (one) => one.plugin,
  );
  assert.throws(
    () => orderPlugins(both, { bound: new Set(), knownProviders: () => [] }),
    /plugins "first" and "second" both provide TestLog.*plugin "first" \{ enabled = false \}/,
  );
});
