import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  Candidates,
  checkConstraint,
  compareVersions,
  escapesComputedClass,
  filterByConstraint,
  parseVersion,
  resolveOnNode,
  rowsOf,
} from "@drover/plugin-sdk/scheduling";
import { MemoryState, makeNode } from "@drover/plugin-sdk/testing";
import fc from "fast-check";

describe("constraint operands", () => {
  const table: [operand: string, left: string | undefined, right: string | undefined, holds: boolean][] = [
    ["=", "linux", "linux", true],
    ["==", "linux", "windows", false],
    ["is", undefined, "linux", false],
    ["=", "x", undefined, false],
    ["!=", "linux", "windows", true],
    ["not", "linux", "linux", false],
    ["!=", undefined, "linux", true],
    ["<", "9", "10", true],
    [">", "9", "10", false],
    ["<=", "1.5", "1.50", true],
    [">=", "abc", "abb", true],
    ["<", "123456789012345678901", "123456789012345678902", true],
    [">", undefined, "1", false],
    ["regexp", "amd64-v3", "^amd", true],
    ["regexp", "arm64", "^amd", false],
    ["regexp", "ARM", "(?i)^arm$", true],
    ["regexp", "x", "(", false],
    ["version", "1.2.3", ">= 1.2, < 2", true],
    ["version", "2.0.0", ">= 1.2, < 2", false],
    ["version", "v1.2", "1.2.0", true],
    ["version", "1.3.0-beta1", ">= 1.2", false],
    ["version", "1.3.0-beta2", ">= 1.3.0-beta1", true],
    ["version", "1.2.9", "~> 1.2.3", true],
    ["version", "1.3.0", "~> 1.2.3", false],
    ["version", "1.9", "~> 1.2", true],
    ["version", "2.0", "~> 1.2", false],
    ["version", "not a version", ">= 0", false],
    ["version", "1.0", "rubbish", false],
    ["semver", "1.3.0-beta1", ">= 1.2.0", true],
    ["semver", "1.3.0-beta1", "< 1.3.0", true],
    ["semver", "1.3", ">= 1.2.0", false],
    ["semver", "1.3.0", "~> 1.2.0", false],
    ["set_contains", "a,b, c", "a,c", true],
    ["set_contains_all", "a,b", "a,c", false],
    ["set_contains_any", "a,b", "c,b", true],
    ["set_contains_any", undefined, "c", false],
    ["is_set", "", "", true],
    ["is_set", undefined, "", false],
    ["is_not_set", undefined, "", true],
    ["is_not_set", "x", "", false],
    ["resembles", "x", "x", false],
  ];
  for (const [operand, left, right, holds] of table) {
    it(`${left ?? "(missing)"} ${operand} ${right ?? "(missing)"} is ${holds}`, () => {
      assert.equal(checkConstraint(operand, left, right), holds);
    });
  }

  it("gives up on a pattern that backtracks without end", () => {
    assert.equal(checkConstraint("regexp", `${"a".repeat(40)}!`, "^(a+)+$"), false);
  });

  it("orders versions totally", () => {
    const part = fc.integer({ min: 0, max: 3 });
    const version = fc
      .tuple(
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.constantFrom("", "-alpha", "-alpha.1", "-alpha.beta", "-2"),
      )
      .map(([segments, prerelease]) => parseVersion(segments.join(".") + prerelease)!);
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        assert.equal(Math.sign(compareVersions(a, b)), -Math.sign(compareVersions(b, a)) + 0);
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0) assert.ok(compareVersions(a, c) <= 0);
      }),
    );
  });
});

describe("constraints on columns", () => {
  it("agree with the same constraint on each node", () => {
    const value = fc.constantFrom("a", "b", "c", "1", "2", "10");
    const operand = fc.constantFrom("=", "!=", "<", ">=", "set_contains", "is_set", "is_not_set", "regexp");
    const right = fc.oneof(value, fc.constant("${meta.other}"));
    const nodes = fc.array(fc.record({ x: fc.option(value), other: fc.option(value) }), { maxLength: 70 });
    fc.assert(
      fc.property(nodes, operand, right, (metas, Operand, RTarget) => {
        const state = new MemoryState();
        for (const { x, other } of metas) {
          state.putNode(
            makeNode({ Meta: { ...(x === null ? {} : { x }), ...(other === null ? {} : { other }) } }),
          );
        }
        const columns = state.columns();
        const candidates = new Candidates(columns.length);
        for (let row = 0; row < columns.length; row++) candidates.add(row);
        const constraint = { LTarget: "${meta.x}", Operand, RTarget };
        const removed = filterByConstraint(candidates, constraint, columns);
        assert.equal(removed + candidates.count(), columns.length);
        for (let row = 0; row < columns.length; row++) {
          const node = state.node(columns.nodeId(row)!)!;
          const holds = checkConstraint(
            Operand,
            resolveOnNode("${meta.x}", node),
            resolveOnNode(RTarget, node),
          );
          assert.equal(candidates.has(row), holds);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("walks the rows of a set in order", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 199 })), (rows) => {
        const set = new Candidates(200);
        for (const row of rows) set.add(row);
        assert.deepEqual(
          [...rowsOf(set)],
          [...rows].sort((a, b) => a - b),
        );
      }),
    );
  });

  it("knows which targets differ within a computed class", () => {
    for (const target of ["${node.unique.id}", "${attr.unique.hostname}", "${meta.unique.slot}"]) {
      assert.ok(escapesComputedClass(target));
    }
    for (const target of ["${node.class}", "${attr.kernel.name}", "unique.x"])
      assert.ok(!escapesComputedClass(target));
  });
});
