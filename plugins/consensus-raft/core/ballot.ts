/** The votes of one election or pre-election. */
export class Ballot {
  readonly #votes = new Map<string, boolean>();

  clear(): void {
    this.#votes.clear();
  }

  record(server: string, granted: boolean): void {
    this.#votes.set(server, granted);
  }

  /** How it stands among `voters`; others' votes do not count. */
  outcome(voters: readonly string[]): "won" | "lost" | "open" {
    const quorum = majority(voters);
    const granted = voters.filter((id) => this.#votes.get(id) === true).length;
    const refused = voters.filter((id) => this.#votes.get(id) === false).length;
    if (granted >= quorum) return "won";
    return refused > voters.length - quorum ? "lost" : "open";
  }
}

/** How many of these servers are a majority. */
export function majority(voters: readonly string[]): number {
  return Math.floor(voters.length / 2) + 1;
}
