/** Filters and scorers of plugins held to their contract: a violation ends the evaluation with the plugin's name. */
import type { CandidateSet, NodeFilter, NodeScorer, PlacementContext } from "@drover/plugin-sdk";
import { Candidates, rowsOf } from "@drover/plugin-sdk/scheduling";
import { failureOf, PluginFault } from "./plugin-fault.js";
import type { Plugged } from "./scheduler-modules.js";

/** A filter that only removes, and says how many for which reason. */
export function guardedFilter({ plugin, part }: Plugged<NodeFilter>): NodeFilter {
  const culprit = `node filter "${part.name}" of plugin "${plugin}"`;
  return {
    name: part.name,
    filter(candidates, context) {
      const before = Candidates.copyOf(candidates);
      const removed = guarded(culprit, () => part.filter(candidates, context));
      checkOnlyRemoved(culprit, before, candidates, context);
      checkReasons(culprit, removed, before.count() - candidates.count());
      return removed;
    },
  };
}

/** A scorer whose scores are finite; they are brought between -1 and 1 and then weighted. */
export function guardedScorer({ plugin, part }: Plugged<NodeScorer>, weight: number): NodeScorer {
  const culprit = `node scorer "${part.name}" of plugin "${plugin}"`;
  const checked = (score: number, row: number, { columns }: PlacementContext): number => {
    if (!Number.isFinite(score)) {
      throw new PluginFault(
        `${culprit} gave node ${columns.nodeId(row) ?? row} the score ${String(score)}, which is no finite number`,
      );
    }
    return weight * Math.min(1, Math.max(-1, score));
  };
  return {
    name: part.name,
    score(candidates, scores, context) {
      const counts = guarded(culprit, () => part.score(Candidates.copyOf(candidates), scores, context));
      if (typeof counts !== "boolean") {
        throw new PluginFault(`${culprit} returned ${String(counts)} of score(), neither true nor false`);
      }
      if (counts) for (const row of rowsOf(candidates)) scores[row] = checked(scores[row]!, row, context);
      return counts;
    },
    ...(part.rescore === undefined
      ? {}
      : {
          rescore: (row: number, context: PlacementContext) =>
            checked(
              guarded(culprit, () => part.rescore!(row, context)),
              row,
              context,
            ),
        }),
  };
}

function guarded<T>(culprit: string, work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    throw failureOf(culprit, thrown);
  }
}

function checkOnlyRemoved(
  culprit: string,
  before: Candidates,
  after: CandidateSet,
  { columns }: PlacementContext,
): void {
  for (let i = 0; i < before.words.length; i++) {
    const added = after.words[i]! & ~before.words[i]!;
    if (added === 0) continue;
    const row = (i << 5) + (31 - Math.clz32(added & -added));
    throw new PluginFault(
      `${culprit} added node ${columns.nodeId(row) ?? `row ${row}`} to the candidates; a filter may only remove`,
    );
  }
}

function checkReasons(culprit: string, removed: unknown, count: number): void {
  if (typeof removed !== "object" || removed === null) {
    throw new PluginFault(`${culprit} returned ${String(removed)}, not how many nodes it removed a reason`);
  }
  let sum = 0;
  for (const [reason, number] of Object.entries(removed)) {
    if (!Number.isInteger(number) || number < 0) {
      throw new PluginFault(`${culprit} says it removed ${String(number)} nodes for "${reason}"`);
    }
    sum += number;
  }
  if (sum !== count) {
    throw new PluginFault(`${culprit} removed ${count} nodes and gave reasons for ${sum}`);
  }
}
