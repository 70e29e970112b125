import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chooseDevice, devicesFeasible } from "@drover/plugin-sdk/scheduling";

const kind = (Vendor: string, Healthy: number) => ({
  Vendor,
  Type: "gpu",
  Name: "k80",
  Attributes: {},
  Healthy,
});
const ask = (Name: string, liked: string | null, Count = 1) => ({
  Name,
  Count,
  Constraints: null,
  Affinities:
    liked === null ? null : [{ LTarget: "${device.vendor}", Operand: "=", RTarget: liked, Weight: 50 }],
});

describe("devices of a node", () => {
  it("go to an ask by its affinities, the first of those that are liked alike", () => {
    const devices = [kind("nvidia", 1), kind("amd", 1), kind("amd", 1)];
    const all = () => 1;
    assert.deepEqual(chooseDevice(ask("gpu", "amd"), devices, all), { at: 1, liked: 50 });
    assert.deepEqual(chooseDevice(ask("gpu", null), devices, all), { at: 0, liked: 0 });
    assert.deepEqual(
      chooseDevice(ask("gpu", "amd"), devices, (at) => (at === 0 ? 1 : 0)),
      { at: 0, liked: 0 },
    );
    assert.equal(chooseDevice(ask("gpu", "amd", 2), devices, all).at, -1);
  });

  it("suffice where the first ask likes what the second can't use", () => {
    const devices = [kind("nvidia", 1), kind("amd", 1)];
    assert.ok(devicesFeasible([ask("gpu", "amd"), ask("nvidia/gpu", null)], devices));
    assert.ok(!devicesFeasible([ask("nvidia/gpu", null), ask("nvidia/gpu", null)], devices));
  });
});
