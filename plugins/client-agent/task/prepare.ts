/** Everything between "received" and "started": folders, payload, templates, environment. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Allocation,
  type Job,
  lookupTaskGroup,
  type Node,
  type Task,
  type TaskConfig,
  type TaskDriver,
  type TaskEvent,
} from "@drover/plugin-sdk";
import { confine } from "../files/confine.js";
import { buildEnvironment } from "./environment.js";
import * as events from "./events.js";
import { buildAllocationFolders, buildTaskFolders, taskFolders } from "./folders.js";
import { type Interpolation, interpolate, interpolateAll } from "./interpolate.js";
import { parseEnvironmentFile, renderTemplate, templateMode } from "./template.js";
import { writeInside } from "./write-file.js";

/** Why a task can't start, as its event. */
export class PrepareError extends Error {
  override readonly name = "PrepareError";
  constructor(
    readonly event: TaskEvent,
    /** Trying again may help (a full disk), or not (a wrong job). */
    readonly recoverable: boolean,
  ) {
    super(event.DisplayMessage);
  }
}

export interface PrepareInput {
  readonly allocation: Allocation;
  readonly job: Job;
  readonly task: Task;
  readonly node: Node;
  readonly region: string;
  readonly allocationFolder: string;
  readonly driver: TaskDriver;
  readonly emit: (event: TaskEvent) => void;
}

/** Rejects with a `PrepareError`. */
export async function prepareTask(input: PrepareInput): Promise<TaskConfig> {
  const { allocation, job, task, driver } = input;
  refuseUnsupported(input);
  const folders = taskFolders(input.allocationFolder, task.Name);
  await attempt("task_dir", true, async () => {
    await buildAllocationFolders(input.allocationFolder);
    await buildTaskFolders(folders, task.User);
  });
  let scope = buildEnvironment({ ...input, folders });
  await attempt("dispatch_payload", true, async () => {
    const file = task.DispatchPayload?.File ?? "";
    if (file === "" || job.Payload === null) return;
    await writeInside(folders.local, file, Buffer.from(job.Payload, "base64"), 0o644);
  });
  for (const template of task.Templates ?? []) {
    await attempt("template", false, async () => {
      scope = await renderToFile(template, input.allocationFolder, task.Name, scope);
    });
  }
  const config = interpolateAll(task.Config ?? {}, scope) as Record<string, unknown>;
  const faults = driver.validate(config);
  if (faults.length > 0) {
    throw new PrepareError(
      events.validationFailure(`config of task "${task.Name}": ${faults.join("; ")}`),
      false,
    );
  }
  const held = allocation.AllocatedResources.Tasks[task.Name];
  return {
    id: `${allocation.ID}/${task.Name}`,
    allocationId: allocation.ID,
    task,
    config,
    env: scope.env,
    user: interpolate(task.User, scope),
    allocDir: folders.shared,
    taskDir: folders.task,
    secretsDir: folders.secrets,
    logDir: folders.logs,
    maxLogFiles: task.LogConfig.MaxFiles,
    maxLogFileSizeMB: task.LogConfig.MaxFileSizeMB,
    resources: {
      cpu: held?.Cpu.CpuShares ?? task.Resources.CPU,
      memoryMB: held?.Memory.MemoryMB ?? task.Resources.MemoryMB,
    },
  };
}

/** What a job may ask for and this agent has not got fails the task with its name, instead of being left out. */
function refuseUnsupported({ job, allocation, task, emit }: PrepareInput): void {
  const artifact = task.Artifacts?.[0];
  if (artifact !== undefined) {
    emit(events.downloadingArtifacts());
    const text = `failed to download artifact "${artifact.GetterSource}": this agent does not download artifacts`;
    throw new PrepareError(events.artifactFailure(text), false);
  }
  const refuse = (what: string) => {
    throw new PrepareError(events.setupFailure(`task "${task.Name}" ${what}`), false);
  };
  if (task.Vault !== null) refuse("has a vault block: this agent has no Vault");
  const mount = task.VolumeMounts?.[0];
  if (mount !== undefined)
    refuse(`mounts volume "${mount.Volume}": driver ${task.Driver} does not support volumes`);
  const mode = lookupTaskGroup(job, allocation.TaskGroup)?.Networks?.[0]?.Mode ?? "";
  if (mode !== "" && mode !== "host") refuse(`needs network mode "${mode}": this agent supports "host"`);
}

async function attempt(hook: string, recoverable: boolean, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    // A system error may pass; one of our own comes out of the job.
    throw new PrepareError(events.setupFailure(`${hook}: ${message}`), recoverable || code !== undefined);
  }
}

/** Relative paths are the task's; the allocation's folder is the wall. */
async function renderToFile(
  template: NonNullable<Task["Templates"]>[number],
  root: string,
  taskName: string,
  scope: Interpolation,
): Promise<Interpolation> {
  const within = (path: string) => {
    const text = interpolate(path, scope);
    return text.startsWith(`${root}/`) ? text.slice(root.length + 1) : join(taskName, text);
  };
  try {
    const source =
      template.SourcePath === ""
        ? template.EmbeddedTmpl
        : await readFile(await confine(root, within(template.SourcePath)), "utf8");
    const delimiters = { left: template.LeftDelim || "{{", right: template.RightDelim || "}}" };
    const text = renderTemplate(source, delimiters, scope.env);
    await writeInside(root, within(template.DestPath), text, templateMode(template));
    if (!template.Envvars) return scope;
    return { ...scope, env: { ...scope.env, ...parseEnvironmentFile(text) } };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    throw Object.assign(new Error(`${template.DestPath}: ${message}`), code === undefined ? {} : { code });
  }
}
