import assert from "node:assert/strict";
import { test } from "node:test";
import type { SchedulerRule } from "@drover/plugin-sdk";
import { makeJob } from "@drover/plugin-sdk/testing";
import type { CheckedScheduler } from "../../../core/kernel/index.js";
import { SchedulerCatalog } from "../../../core/server/scheduler-catalog.js";

const builtIn = new URL("../../../plugins/scheduler-service/plugin.js", import.meta.url).href;
const plugin = (name: string, parts: Partial<CheckedScheduler> = {}): CheckedScheduler => ({
  plugin: name,
  module: { module: `file:///somewhere/${name}.mjs`, config: {} },
  types: [],
  filters: [],
  scorers: [],
  ...parts,
});
const service = plugin("scheduler-service", { module: { module: builtIn, config: {} }, types: ["service"] });
const carbon = plugin("carbon-aware", { scorers: [{ name: "carbon", applies: "named" }] });
const windows = plugin("windows", { filters: [{ name: "window", applies: "always" }] });
const rule = (parts: Partial<SchedulerRule> = {}): SchedulerRule => ({
  filters: [],
  scorers: [],
  namespaces: {},
  ...parts,
});

test("names of the operator's blocks that nobody brings are problems with their key", () => {
  const catalog = new SchedulerCatalog([service, carbon], {
    service: rule({
      scorers: ["carbon=2", "carbn"],
      deadline: 60_000,
      namespaces: { green: { filters: ["window"], scorers: ["carbon=0"] } },
    }),
    servce: rule(),
    "*": rule({ deadline: 20_000 }),
  });
  assert.deepEqual(
    catalog.ruleProblems(60_000).map(({ path, message }) => `${path.join(".")}: ${message}`),
    [
      "scheduler.service.deadline: must be above 0 and below server.eval_nack_timeout (60 s)",
      'scheduler.service.scorers: no plugin of this server brings a node scorer "carbn"; known: "carbon"',
      'scheduler.service.namespace.green.filters: no plugin of this server brings a node filter "window"; known: none',
      'scheduler.service.namespace.green.scorers: weight of scorer "carbon" must be a number above 0 and at most 10, not "0"',
      'scheduler.servce: no scheduler handles jobs of type "servce"; known: "*", "service"',
    ],
  );
});

test("rules of all types, of the type and of the namespace add up; a weight in the job's meta counts most", () => {
  const catalog = new SchedulerCatalog([service, carbon, windows], {
    "*": rule({ scorers: ["carbon"] }),
    service: rule({
      scorers: ["carbon=2"],
      namespaces: { green: { filters: [], scorers: ["carbon=4"] } },
    }),
  });
  const weight = (job: Parameters<typeof makeJob>[0]): number | undefined =>
    catalog.select(makeJob(job)).scorers.get("carbon");
  assert.equal(weight({ Type: "batch" }), 1);
  assert.equal(weight({}), 2);
  assert.equal(weight({ Namespace: "green" }), 4);
  assert.equal(weight({ Namespace: "green", Meta: { "drover.scorers": "carbon=0.5" } }), 0.5);
  assert.deepEqual(catalog.select(makeJob()).filters, ["window"]);
});

test("jobs that strangers' code takes part in placing are told from those it doesn't", () => {
  const named = new SchedulerCatalog([service, carbon], {});
  const plain = makeJob();
  const green = makeJob({ Meta: { "drover.scorers": "carbon" } });
  assert.equal(
    named.guestsPlace(plain, () => plain),
    false,
  );
  assert.equal(
    named.guestsPlace(green, () => green),
    true,
  );
  assert.equal(
    named.guestsPlace({ Type: "_core" }, () => null),
    false,
  );
  const always = new SchedulerCatalog([service, windows], {});
  assert.equal(
    always.guestsPlace(plain, () => assert.fail("the job need not be read")),
    true,
  );
});

test("two plugins that bring the same are an error with both names", () => {
  assert.throws(
    () => new SchedulerCatalog([carbon, { ...carbon, plugin: "carbon-too" }], {}),
    /plugins "carbon-aware" and "carbon-too" both bring a node scorer "carbon"/,
  );
});
