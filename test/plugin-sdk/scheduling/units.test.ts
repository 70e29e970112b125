import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compareQuantities, deviceRuleHolds, parseQuantity } from "@drover/plugin-sdk/scheduling";

describe("quantities of devices", () => {
  it("read numbers with binary and decimal units, hertz and watts", () => {
    assert.deepEqual(parseQuantity("2 GiB"), { kind: "bytes", value: 2 * 1024 ** 3 });
    assert.deepEqual(parseQuantity("2GB"), { kind: "bytes", value: 2e9 });
    assert.deepEqual(parseQuantity("1.5 GB/s"), { kind: "bytes/s", value: 1.5e9 });
    assert.deepEqual(parseQuantity("700 MHz"), { kind: "hertz", value: 7e8 });
    assert.deepEqual(parseQuantity("250 W"), { kind: "watts", value: 250 });
    assert.deepEqual(parseQuantity("-3"), { kind: "", value: -3 });
    for (const text of ["", "GiB", "1 parsec", "1 2", "0x10"]) assert.equal(parseQuantity(text), null, text);
  });

  it("compare only what measures the same", () => {
    assert.equal(compareQuantities("1 GiB", "1024 MiB"), 0);
    assert.ok(compareQuantities("1 GB", "1 GiB")! < 0);
    assert.equal(compareQuantities("1 GiB", "1 GHz"), null);
    assert.equal(compareQuantities("1", "1 MiB"), null);
  });

  it("decide constraints, and what is no quantity is compared as text", () => {
    const device = {
      Vendor: "nvidia",
      Type: "gpu",
      Name: "t4",
      Attributes: {
        memory: { Int: 16, Unit: "GiB" },
        ecc: { Bool: true },
        driver: { String: "418.87.0" },
      },
    };
    const holds = (LTarget: string, Operand: string, RTarget: string) =>
      deviceRuleHolds({ LTarget: `\${device.${LTarget}}`, Operand, RTarget }, device);
    assert.ok(holds("attr.memory", ">", "8 GiB"));
    assert.ok(!holds("attr.memory", ">", "8 W"));
    assert.ok(holds("attr.memory", "!=", "8 GiB"));
    assert.ok(holds("attr.ecc", "=", "true"));
    assert.ok(holds("attr.driver", "version", ">= 418"));
    assert.ok(holds("vendor", "=", "nvidia"));
    assert.ok(!holds("attr.absent", "is_set", ""));
    assert.ok(holds("attr.absent", "is_not_set", ""));
  });
});
