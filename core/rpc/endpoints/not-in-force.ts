import type { Job } from "@drover/plugin-sdk";

/**
 * What a job asks for that this version takes down and does not act on. Told at registration, so that nobody waits for a
 * launch or a service that will not come.
 */
export function notInForce(job: Job): string[] {
  const found: string[] = [];
  if (job.Periodic !== null) found.push("periodic jobs are kept, but this version does not launch them");
  if (job.ParameterizedJob !== null && !job.Dispatched) {
    found.push("parameterized jobs are kept, but this version does not dispatch them");
  }
  if (job.Multiregion !== null) found.push("multiregion is ignored: this version runs one region");
  for (const group of job.TaskGroups ?? []) {
    const where = `group "${group.Name}"`;
    const tasks = group.Tasks ?? [];
    if ([group, ...tasks].some((part) => (part.Services?.length ?? 0) > 0)) {
      found.push(`${where}: services are not registered anywhere by this version`);
    }
    if (tasks.some((task) => task.Vault !== null)) {
      found.push(`${where}: vault is ignored: no secrets plugin is there to give tokens`);
    }
  }
  return found;
}
