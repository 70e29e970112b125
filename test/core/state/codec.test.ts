import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { type Allocation, DEFAULT_AUTOPILOT_SETTINGS } from "@drover/plugin-sdk";
import fc from "fast-check";
import {
  type Command,
  type CommandPayloads,
  CommandType,
  decodeCommand,
  encodeCommand,
} from "../../../core/state/index.js";
import { makeAllocation, makeEvaluation, makeJob, plan, registration, TIME } from "./support.js";

function again(command: Command): Command {
  return decodeCommand(encodeCommand(command));
}

/** The command with the placements of a plan as a list. */
function plain(command: Command): Command {
  if (command.type !== CommandType.PlanApply) return command;
  return { ...command, payload: { ...command.payload, Placed: [...command.payload.Placed] } };
}

function placedAgain(Placed: Allocation[]): Allocation[] {
  return [...(again(plan({ Placed })).payload as CommandPayloads[typeof CommandType.PlanApply]).Placed];
}

const metrics: Allocation["Metrics"] = {
  AllocationTime: 97_035,
  ClassExhausted: null,
  ClassFiltered: null,
  CoalescedFailures: 0,
  ConstraintFiltered: null,
  DimensionExhausted: null,
  NodesAvailable: { dc1: 5_000 },
  NodesEvaluated: 5_000,
  NodesExhausted: 0,
  NodesFiltered: 0,
  QuotaExhausted: null,
  ResourcesExhausted: null,
  ScoreMetaData: [{ NodeID: randomUUID(), NormScore: 0.5, Scores: { binpack: 0.5 } }],
  Scores: null,
};

describe("commands", () => {
  it("come out of the encoding as they went in", () => {
    const commands: Command[] = [
      registration(makeJob({ Meta: { owner: "ä" } }), makeEvaluation({ Wait: 5 })),
      {
        type: CommandType.PluginRowPut,
        payload: { Plugin: "p", Table: "t", Key: "k", Value: { a: [1, null, "x"], b: 2 ** 40 } },
      },
      {
        type: CommandType.AutopilotConfigUpdate,
        payload: {
          Config: { ...DEFAULT_AUTOPILOT_SETTINGS, MinQuorum: 3, CreateIndex: 0, ModifyIndex: 0 },
          ModifyIndex: 7,
        },
      },
      {
        type: CommandType.ClusterMetadataInit,
        payload: { Metadata: { ClusterID: randomUUID(), CreateTime: TIME } },
      },
      { type: CommandType.EvaluationDelete, payload: { EvalIDs: ["a"], AllocIDs: [] } },
      plan({
        Placed: [
          makeAllocation({ Metrics: metrics }),
          makeAllocation({ ID: "no-uuid", NodeID: "also-none", Name: "odd" }),
        ],
      }),
    ];
    for (const command of commands) assert.deepEqual(plain(again(command)), command);
  });

  it("of plans keep every allocation's own values (property)", () => {
    const ids = Array.from({ length: 6 }, () => randomUUID());
    const allocation = fc.record({
      NodeID: fc.constantFrom(...ids),
      NodeName: fc.constantFrom("a", "b"),
      JobID: fc.constantFrom("web", "api"),
      TaskGroup: fc.constantFrom("app", "db"),
      Name: fc.constantFrom("web.app[0]", "api.db[12]", "web.app[01]", "x"),
      JobVersion: fc.nat(3),
      EvalID: fc.constantFrom(...ids),
      Metrics: fc.constantFrom(null, metrics, { ...metrics, NodesFiltered: 2 }),
      DesiredDescription: fc.constantFrom(undefined, "", "x"),
      PreviousAllocation: fc.constantFrom(undefined, ...ids),
    });
    fc.assert(
      fc.property(fc.array(allocation, { maxLength: 20 }), (changes) => {
        const Placed = changes.map((change) => {
          const given = Object.entries(change).filter(([, value]) => value !== undefined);
          return makeAllocation(Object.fromEntries(given));
        });
        // One id and its name belong together in a cluster.
        for (const row of Placed) row.NodeName = `node-${row.NodeID.slice(0, 4)}`;
        assert.deepEqual(placedAgain(Placed), Placed);
      }),
    );
  });

  it("of plans take few bytes an allocation", () => {
    const nodes = Array.from({ length: 5_000 }, () => randomUUID());
    const AllocatedResources = makeAllocation().AllocatedResources;
    const EvalID = randomUUID();
    const Placed = Array.from({ length: 10_000 }, (_, i) =>
      makeAllocation({
        AllocatedResources,
        EvalID,
        Metrics: metrics,
        Name: `web.app[${i}]`,
        NodeID: nodes[(i * 7) % nodes.length]!,
        NodeName: `host-${(i * 7) % nodes.length}`,
      }),
    );
    const bytes = encodeCommand(plan({ EvalID, Placed })).length / Placed.length;
    assert.ok(bytes < 45, `${bytes} bytes an allocation`);
  });

  it("keep times and indexes beyond 32 bits", () => {
    const command = registration(makeJob({ SubmitTime: TIME, JobModifyIndex: 2 ** 45 + 1 }));
    assert.deepEqual(again(command), command);
  });
});
