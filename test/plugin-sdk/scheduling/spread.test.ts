import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SpreadCounter } from "@drover/plugin-sdk/scheduling";
import fc from "fast-check";

describe("spread over the values of an attribute", () => {
  it("wants the values with the fewest allocations, whatever came and went", () => {
    const steps = fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.integer({ min: -2, max: 3 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (changes) => {
        const counter = new SpreadCounter({ Attribute: "", SpreadTarget: null, Weight: 50 }, 50, 10);
        const counts = new Map<string, number>();
        for (const [value, by] of changes) {
          counter.add(value, by);
          const count = Math.max(0, (counts.get(value) ?? 0) + by);
          if (count > 0) counts.set(value, count);
          else counts.delete(value);
          const [least, most] = [Math.min(...counts.values()), Math.max(...counts.values())];
          for (const one of ["a", "b", "c", "d"]) {
            const n = counts.get(one) ?? 0;
            let expected = 0;
            if (counts.size > 0 && n !== least) expected = (least - n) / least;
            else if (counts.size > 0) expected = least === most ? -1 : (most - least) / least;
            assert.equal(counter.score(one), expected, `${one} of ${JSON.stringify([...counts])}`);
          }
        }
      }),
    );
  });

  it("gives targets their percentage and all other values the remainder each", () => {
    const targets = [{ Value: "a", Percent: 75 }];
    const counter = new SpreadCounter({ Attribute: "", SpreadTarget: targets, Weight: 30 }, 60, 8);
    assert.deepEqual([counter.wanted("a"), counter.wanted("b"), counter.wanted("c")], [6, 2, 2]);
    assert.equal(counter.score("a"), (5 / 6) * 0.5);
    counter.add("b", 2);
    assert.equal(counter.score("b"), -0.5 * 0.5);
    assert.equal(counter.score("c"), 0.5 * 0.5);
    assert.equal(counter.score(undefined), -1);
  });

  it("leaves nothing to other values where the targets make up the whole", () => {
    const targets = [
      { Value: "a", Percent: 70 },
      { Value: "b", Percent: 30 },
    ];
    // 2.1 + 0.9, 4.2 + 1.8 and 8.4 + 3.6 are a little less than their sums as floating numbers.
    for (const count of [3, 6, 12]) {
      const counter = new SpreadCounter({ Attribute: "", SpreadTarget: targets, Weight: 50 }, 50, count);
      assert.deepEqual([counter.wanted("c"), counter.score("c")], [0, -1], `${count} allocations`);
    }
  });
});
