/** Deployments as lists and as text. */
import type { Deployment } from "@drover/plugin-sdk";
import { columns, keyValues, shortId } from "../format.js";
import { bold, type CommandIo } from "../io.js";
import { deployedTable } from "./job-text.js";

/** Newest first. */
export function deploymentTable(deployments: readonly Deployment[], verbose = false): string {
  return columns([
    ["ID", "Job ID", "Job Version", "Status", "Description"],
    ...deployments
      .toSorted((a, b) => b.CreateIndex - a.CreateIndex)
      .map((deployment) => [
        shortId(deployment.ID, verbose),
        deployment.JobID,
        String(deployment.JobVersion),
        deployment.Status,
        deployment.StatusDescription,
      ]),
  ]);
}

export function deploymentText(deployment: Deployment, verbose: boolean, io: CommandIo): string {
  const facts = keyValues([
    ["ID", shortId(deployment.ID, verbose)],
    ["Job ID", deployment.JobID],
    ["Job Version", String(deployment.JobVersion)],
    ["Status", deployment.Status],
    ["Description", deployment.StatusDescription],
  ]);
  return `${facts}\n\n${bold(io, "Deployed")}\n${deployedTable(deployment)}`;
}
