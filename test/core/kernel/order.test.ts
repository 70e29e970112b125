import assert from "node:assert/strict";
import { test } from "node:test";
import { Consensus, type Plugin, type Token } from "@drover/plugin-sdk";
import fc from "fast-check";
import { orderPlugins } from "../../../core/kernel/order.js";
import { freshToken, kernelOf, plugin } from "./fixtures.js";

const options = { bound: new Set<Token<unknown>>(), knownProviders: () => [] };

/** A random graph without cycles: plugin i may need only plugins below i; the order it is given in is shuffled. */
const graphs = fc.integer({ min: 1, max: 12 }).chain((size) =>
  fc.record({
    edges: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1), fc.boolean()), { maxLength: 30 }),
    order: fc.shuffledSubarray([...Array(size).keys()], { minLength: size, maxLength: size }),
  }),
);

function build({ edges, order }: { edges: [number, number, boolean][]; order: number[] }): Plugin[] {
  const tokens = order.map(() => freshToken());
  return order.map((i) => {
    const needs = edges.filter(([from, to]) => from === i && to < i);
    return plugin({
      name: `p${i}`,
      provides: [tokens[i]!],
      requires: needs.filter(([, , hard]) => hard).map(([, to]) => tokens[to]!),
      optional: needs.filter(([, , hard]) => !hard).map(([, to]) => tokens[to]!),
    });
  });
}

test("every plugin comes after those whose tokens it requires or would use, whatever the graph", () => {
  fc.assert(
    fc.property(graphs, (graph) => {
      const plugins = build(graph);
      const ordered = orderPlugins(plugins, options);
      assert.deepEqual(new Set(ordered), new Set(plugins));
      for (const [at, one] of ordered.entries()) {
        for (const token of [...one.requires, ...one.optional]) {
          assert.ok(ordered.findIndex(({ provides }) => provides.includes(token)) < at, one.name);
        }
      }
    }),
  );
});

test("a kernel stops in the reverse of the order it started in, whatever the graph", async () => {
  await fc.assert(
    fc.asyncProperty(graphs, async (graph) => {
      const steps: string[] = [];
      const plugins = build(graph).map((one) => ({
        ...one,
        start: () => void steps.push(one.name),
        stop: () => void steps.push(one.name),
      }));
      const kernel = kernelOf(...plugins);
      await kernel.start();
      await kernel.stop();
      const started = steps.slice(0, plugins.length);
      assert.deepEqual(steps.slice(plugins.length), started.reverse());
    }),
    { numRuns: 30 },
  );
});

test("plugins that don't depend on each other keep the order they were given in", () => {
  const names = ["e", "a", "d", "b"];
  const ordered = orderPlugins(
    names.map((name) => plugin({ name })),
    options,
  );
  assert.deepEqual(
    ordered.map(({ name }) => name),
    names,
  );
});

test("a missing provider is named with its token and the built-in plugin that would provide it", async () => {
  const kernel = kernelOf(plugin({ name: "needy", requires: [Consensus] }));
  await assert.rejects(kernel.start(), {
    name: "PluginErrors",
    message:
      'plugin "needy" requires Consensus, which nothing provides; the built-in plugin "consensus-raft" or "consensus-etcd" does: enable it',
  });
});

test("a multi-valued token that nobody provides is no error", () => {
  orderPlugins([plugin({ name: "a", requires: [freshToken("multiple")] })], options);
});

test("a second provider of a single-valued token is an error that names both", () => {
  const token = freshToken();
  const both = ["first", "second"].map((name) => plugin({ name, provides: [token] }));
  assert.throws(
    () => orderPlugins(both, options),
    /plugins "first" and "second" both provide Test\d+.*turn one off/,
  );
});

test("a cycle is an error that shows its path", () => {
  const [a, b, c] = [freshToken(), freshToken(), freshToken()];
  const circle = [
    plugin({ name: "outside", requires: [a] }),
    plugin({ name: "one", provides: [a], requires: [b] }),
    plugin({ name: "two", provides: [b], optional: [c] }),
    plugin({ name: "three", provides: [c], requires: [a] }),
  ];
  assert.throws(
    () => orderPlugins(circle, options),
    /in a circle: one \(needs Test\d+\) → two \(needs Test\d+\) → three \(needs Test\d+\) → one$/,
  );
});
