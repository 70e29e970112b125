/** Task events with the fields, details and texts that Nomad 1.1 gives them. */
import { type TaskEvent, TaskEventType } from "@drover/plugin-sdk";
import { formatDuration, unixNanos } from "../clock.js";

/** How many events a task keeps. */
export const MAX_EVENTS = 10;

type Fields = Partial<Omit<TaskEvent, "Type" | "Time" | "DisplayMessage" | "Details">>;

function event(
  Type: TaskEvent["Type"],
  DisplayMessage: string,
  fields: Fields = {},
  Details: Record<string, string> = {},
): TaskEvent {
  return {
    Details: fields.FailsTask === true ? { ...Details, fails_task: "true" } : Details,
    DiskLimit: 0,
    DisplayMessage,
    DownloadError: "",
    DriverError: "",
    DriverMessage: "",
    ExitCode: 0,
    FailedSibling: "",
    FailsTask: false,
    GenericSource: "",
    KillError: "",
    KillReason: "",
    KillTimeout: 0,
    Message: "",
    RestartReason: "",
    SetupError: "",
    Signal: 0,
    StartDelay: 0,
    TaskSignal: "",
    TaskSignalReason: "",
    Time: unixNanos(),
    Type,
    ValidationError: "",
    VaultError: "",
    ...fields,
  };
}

export const received = () => event(TaskEventType.Received, "Task received by client");

export const setup = (Message: string) =>
  event(TaskEventType.Setup, Message, { Message }, { message: Message });

export const started = () => event(TaskEventType.Started, "Task started by client");

export function terminated(ExitCode: number, Signal: number, oomKilled: boolean, error?: string): TaskEvent {
  const parts = [`Exit Code: ${ExitCode}`];
  if (Signal !== 0) parts.push(`Signal: ${Signal}`);
  if (error !== undefined) parts.push(`Exit Message: "${error}"`);
  return event(
    TaskEventType.Terminated,
    parts.join(", "),
    { ExitCode, Signal, ...(error === undefined ? {} : { Message: error }) },
    {
      exit_code: String(ExitCode),
      signal: String(Signal),
      oom_killed: String(oomKilled),
      ...(error === undefined ? {} : { exit_message: error }),
    },
  );
}

/** `KillTimeout` in nanoseconds. */
export const killing = (KillTimeout: number) =>
  event(
    TaskEventType.Killing,
    KillTimeout === 0
      ? "Sent interrupt"
      : `Sent interrupt. Waiting ${formatDuration(KillTimeout)} before force killing`,
    { KillTimeout },
    KillTimeout === 0 ? {} : { kill_timeout: formatDuration(KillTimeout) },
  );

export const killed = (KillError = "") =>
  event(
    TaskEventType.Killed,
    KillError === "" ? "Task successfully killed" : KillError,
    { KillError },
    KillError === "" ? {} : { kill_error: KillError },
  );

/** Reason that is not worth a word. */
export const RESTART_WITHIN_POLICY = "Restart within policy";

/** `StartDelay` in nanoseconds. */
export function restarting(StartDelay: number, RestartReason: string): TaskEvent {
  const text = `Task restarting in ${formatDuration(StartDelay)}`;
  const plain = RestartReason === "" || RestartReason === RESTART_WITHIN_POLICY;
  return event(
    TaskEventType.Restarting,
    plain ? text : `${RestartReason} - ${text}`,
    { StartDelay, RestartReason },
    { start_delay: String(StartDelay), restart_reason: RestartReason },
  );
}

export const notRestarting = (RestartReason: string) =>
  event(
    TaskEventType.NotRestarting,
    RestartReason,
    { RestartReason, FailsTask: true },
    { restart_reason: RestartReason },
  );

export const restartSignaled = (RestartReason: string) =>
  event(TaskEventType.RestartSignaled, RestartReason, { RestartReason }, { restart_reason: RestartReason });

export const driverFailure = (DriverError: string) =>
  event(TaskEventType.DriverFailure, DriverError, { DriverError }, { driver_error: DriverError });

export const driverMessage = (DriverMessage: string) =>
  event(TaskEventType.Driver, DriverMessage, { DriverMessage }, { driver_message: DriverMessage });

export const setupFailure = (SetupError: string) =>
  event(TaskEventType.SetupFailure, SetupError, { SetupError }, { setup_error: SetupError });

export const validationFailure = (ValidationError: string) =>
  event(
    TaskEventType.FailedValidation,
    ValidationError,
    { ValidationError },
    { validation_error: ValidationError },
  );

export const downloadingArtifacts = () =>
  event(TaskEventType.DownloadingArtifacts, "Client is downloading artifacts");

export const artifactFailure = (DownloadError: string) =>
  event(
    TaskEventType.ArtifactDownloadFailed,
    DownloadError,
    { DownloadError },
    { download_error: DownloadError },
  );

export const siblingFailed = (FailedSibling: string) =>
  event(
    TaskEventType.SiblingFailed,
    `Task's sibling "${FailedSibling}" failed`,
    { FailedSibling },
    { failed_sibling: FailedSibling },
  );

export const leaderDead = () => event(TaskEventType.LeaderDead, "Leader Task in Group dead");

export const mainDead = () => event("Main Tasks Dead", "Main tasks in the group died");

export const signaling = (TaskSignal: string, TaskSignalReason: string) =>
  event(
    TaskEventType.Signaling,
    `Task being sent signal ${TaskSignal}${TaskSignalReason === "" ? "" : `: ${TaskSignalReason}`}`,
    { TaskSignal, TaskSignalReason },
    { task_signal: TaskSignal, task_signal_reason: TaskSignalReason },
  );

/** `delay` in nanoseconds. */
export const shutdownDelay = (delay: number) =>
  event(
    "Waiting for shutdown delay",
    `Waiting for shutdown_delay of ${formatDuration(delay)} before killing the task.`,
  );

export const unhealthy = (Message: string) =>
  event(TaskEventType.Alloc, Message, { Message }, { message: Message });
