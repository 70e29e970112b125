/** Which filters and scorers there are, and which of them the operator adds where. */

/**
 * When a filter or scorer takes part: `always` in every job's placement, `named` only where the job names it (`meta` keys
 * `drover.filters` and `drover.scorers`) or the operator does (`scheduler` block of the agent's configuration).
 */
export type Applies = "always" | "named";

/** A filter or scorer that a plugin brings. */
export interface OfferedPart {
  readonly name: string;
  readonly applies: Applies;
}

/** Names of filters and scorers, as an operator gives them. */
export interface NamedParts {
  readonly filters: readonly string[];
  /** `name` or `name=weight`. */
  readonly scorers: readonly string[];
}

/** One `scheduler "TYPE"` block; of `*` for every job type. */
export interface SchedulerRule extends NamedParts {
  /** Milliseconds that a scheduler may work on one evaluation; undefined where the block does not say. */
  readonly deadline?: number;
  /** What is added for jobs of a namespace. */
  readonly namespaces: Readonly<Record<string, NamedParts>>;
}

/** The operator's `scheduler` blocks, by job type or `*`. */
export type SchedulerRules = Readonly<Record<string, SchedulerRule>>;
