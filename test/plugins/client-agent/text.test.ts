import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration } from "../../../plugins/client-agent/clock.js";
import { chooseGarbage } from "../../../plugins/client-agent/gc.js";
import { parseCores } from "../../../plugins/client-agent/node.js";
import { interpolateAll } from "../../../plugins/client-agent/task/interpolate.js";
import { parseEnvironmentFile, renderTemplate } from "../../../plugins/client-agent/task/template.js";

test("durations are printed as Go prints them", () => {
  const printed = [0, 5e9, 90e9, 7200e9, 250e6, 2.5e9, 1500, 7].map(formatDuration);
  assert.deepEqual(printed, ["0s", "5s", "1m30s", "2h0m0s", "250ms", "2.5s", "1.5µs", "7ns"]);
});

test("templates render text, comments, trimming and env, and refuse the rest", () => {
  const braces = { left: "{{", right: "}}" };
  const render = (text: string) => renderTemplate(text, braces, { NAME: "x" });
  assert.equal(render("plain { } text"), "plain { } text");
  assert.equal(render('a {{ env "NAME" }} b{{/* note */}}'), "a x b");
  assert.equal(render('a \n {{- env "NAME" -}} \n b'), "axb");
  assert.equal(render('{{ env "MISSING" }}'), "");
  assert.equal(
    renderTemplate('[[ env "NAME" ]] {{ kept }}', { left: "[[", right: "]]" }, { NAME: "x" }),
    "x {{ kept }}",
  );
  assert.throws(() => render('{{ key "a" }}'), /can't render \{\{ key "a" \}\}/);
  assert.throws(() => render('{{ env "NAME" | toUpper }}'), /can't render/);
  assert.throws(() => render("{{ env"), /never closed/);
  assert.deepEqual(parseEnvironmentFile('# note\nA=1\nexport B="two words"\n\n'), { A: "1", B: "two words" });
  assert.throws(() => parseEnvironmentFile("A=1\nnonsense"), /line 2 is not KEY=value/);
});

test("references in every string of a config are replaced, and unknown ones kept", () => {
  const scope = { env: { NOMAD_PORT_http: "80", toString_: "no" }, facts: { "attr.cpu.arch": "amd64" } };
  assert.deepEqual(
    interpolateAll(
      {
        args: [
          "$" + "{NOMAD_PORT_http}",
          "$" + '{env["NOMAD_PORT_http"]}',
          "$" + "{attr.cpu.arch}",
          "$" + "{HOME}",
        ],
        n: 1,
      },
      scope,
    ),
    { args: ["80", "80", "amd64", "$" + "{HOME}"], n: 1 },
  );
});

test("reserved cores are numbers and ranges", () => {
  assert.equal(parseCores(""), null);
  assert.deepEqual(parseCores("3, 0-1"), [0, 1, 3]);
  assert.throws(() => parseCores("all"), /client\.reserved\.cores "all"/);
});

test("garbage is what ended first and is known to the servers", () => {
  const candidates = [
    { id: "running", ended: undefined, reported: false },
    { id: "new", ended: 30, reported: true },
    { id: "old", ended: 10, reported: true },
    { id: "older, not reported", ended: 5, reported: false },
  ];
  const limits = { maxAllocations: 3, maxDiskPercent: 80 };
  assert.deepEqual(chooseGarbage(candidates, 10, limits), ["old"]);
  assert.deepEqual(chooseGarbage(candidates, 10, { ...limits, maxAllocations: 0 }), ["old", "new"]);
  assert.deepEqual(chooseGarbage(candidates, 90, { ...limits, maxAllocations: 50 }), ["old"]);
  assert.deepEqual(chooseGarbage(candidates, 10, { ...limits, maxAllocations: 50 }), []);
});
