/** One thing that is wrong in the agent's configuration. */
export interface ConfigProblem {
  /** `agent.hcl:12`, `-bind`, or empty where no single place is at fault. */
  readonly place: string;
  readonly message: string;
}

/** An agent configuration that can't be used: `message` lists everything that is wrong, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(readonly problems: readonly ConfigProblem[]) {
    super(problems.map(({ place, message }) => (place === "" ? message : `${place}: ${message}`)).join("\n"));
  }
}
