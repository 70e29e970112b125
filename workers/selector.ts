/** The filters and scorers of a thread that take part in a job's placement. */
import type { Job, NodeFilter, NodeScorer, OfferedPart, SchedulerRules } from "@drover/plugin-sdk";
import { selectParts, unknownPart } from "@drover/plugin-sdk/scheduling";
import { guardedFilter, guardedScorer } from "./guards.js";
import { PluginFault } from "./plugin-fault.js";
import type { LoadedSchedulers, Plugged } from "./scheduler-modules.js";

export interface PlacementParts {
  readonly filters: readonly NodeFilter[];
  readonly scorers: readonly NodeScorer[];
}

const NOTHING: PlacementParts = { filters: [], scorers: [] };

/** Selects by the operator's rules and the job's meta. The result throws `PluginFault` for a name that no plugin brings. */
export function partSelector(
  { filters, scorers }: Pick<LoadedSchedulers, "filters" | "scorers">,
  rules: SchedulerRules,
): (job: Job | null) => PlacementParts {
  const offered = { filters: offers(filters), scorers: offers(scorers) };
  return (job) => {
    // Without a job nothing is placed.
    if (job === null) return NOTHING;
    const selection = selectParts(job, rules, offered);
    const [problem] = selection.problems;
    if (problem !== undefined) throw new PluginFault(`job ${job.ID}: ${problem}`);
    return {
      filters: selection.filters.map((name) => guardedFilter(found("node filter", name, filters))),
      scorers: [...selection.scorers].map(([name, weight]) =>
        guardedScorer(found("node scorer", name, scorers), weight),
      ),
    };
  };
}

function found<T extends NodeFilter | NodeScorer>(
  kind: string,
  name: string,
  parts: ReadonlyMap<string, Plugged<T>>,
): Plugged<T> {
  const plugged = parts.get(name);
  if (plugged === undefined) throw new PluginFault(unknownPart(kind, name, offers(parts)));
  return plugged;
}

function offers(parts: ReadonlyMap<string, Plugged<NodeFilter | NodeScorer>>): OfferedPart[] {
  return [...parts.values()].map(({ part }) => ({ name: part.name, applies: part.applies ?? "always" }));
}
