/** Which of the agent's own environment variables a task gets. */

/** What Nomad keeps from tasks unless `client { options { "env.denylist" = "…" } }` says otherwise, and our own token. */
export const DEFAULT_DENYLIST = [
  "CONSUL_TOKEN",
  "CONSUL_HTTP_TOKEN",
  "CONSUL_HTTP_TOKEN_FILE",
  "NOMAD_TOKEN",
  "DROVER_TOKEN",
  "VAULT_TOKEN",
  "NOMAD_LICENSE",
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "AWS_SESSION_TOKEN",
  "GOOGLE_APPLICATION_CREDENTIALS",
] as const;

/** The agent's environment without the denied variables, under the task's own, which wins. */
export function taskEnvironment(
  host: NodeJS.ProcessEnv,
  task: Readonly<Record<string, string>>,
  denylist: readonly string[],
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(host)) {
    if (value !== undefined && !denylist.includes(name)) env[name] = value;
  }
  return Object.assign(env, task);
}

/** The operator's list, or the default. */
export function denylistOf(options: Readonly<Record<string, string>>): readonly string[] {
  const text = options["env.denylist"] ?? options["env.blacklist"];
  return text === undefined ? DEFAULT_DENYLIST : text.split(",").map((name) => name.trim());
}
