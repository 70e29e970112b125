/** Events in the life of a task (`TaskStates[task].Events` of an allocation). */

/** Type of a task event, worded as Nomad words it. */
export const TaskEventType = {
  Setup: "Task Setup",
  SetupFailure: "Setup Failure",
  DriverFailure: "Driver Failure",
  Driver: "Driver",
  Received: "Received",
  FailedValidation: "Failed Validation",
  Started: "Started",
  Terminated: "Terminated",
  Killing: "Killing",
  Killed: "Killed",
  Restarting: "Restarting",
  NotRestarting: "Not Restarting",
  RestartSignaled: "Restart Signaled",
  Signaling: "Signaling",
  DownloadingArtifacts: "Downloading Artifacts",
  ArtifactDownloadFailed: "Failed Artifact Download",
  BuildingTaskDir: "Building Task Directory",
  SiblingFailed: "Sibling Task Failed",
  LeaderDead: "Leader Task Dead",
  HookFailed: "Task hook failed",
  HookMessage: "Task hook message",
  RestoreFailed: "Failed Restoring Task",
  PluginUnhealthy: "Plugin became unhealthy",
  PluginHealthy: "Plugin became healthy",
  DiskExceeded: "Disk Resources Exceeded",
  ClientReconnected: "Reconnected",
  Template: "Template",
  Alloc: "Alloc Unhealthy",
} as const;
/** Drivers may emit their own, so any string is admitted. */
export type TaskEventType = (typeof TaskEventType)[keyof typeof TaskEventType] | (string & {});

/** A task event. Everything but Type, Time, Message, DisplayMessage and Details is Nomad's legacy form of Details. */
export interface TaskEvent {
  /** Machine-readable: `exit_code`, `signal`, `oom_killed`, `kill_timeout`, `message`, `start_delay`… */
  Details: Record<string, string> | null;
  DiskLimit: number;
  /** One line for people. */
  DisplayMessage: string;
  DownloadError: string;
  DriverError: string;
  DriverMessage: string;
  ExitCode: number;
  FailedSibling: string;
  /** The event fails the task for good. */
  FailsTask: boolean;
  GenericSource: string;
  KillError: string;
  KillReason: string;
  /** Nanoseconds. */
  KillTimeout: number;
  Message: string;
  RestartReason: string;
  SetupError: string;
  /** Signal number that ended the task; 0: none. */
  Signal: number;
  /** Nanoseconds before the restart. */
  StartDelay: number;
  TaskSignal: string;
  TaskSignalReason: string;
  /** Unix nanoseconds. */
  Time: number;
  Type: TaskEventType;
  ValidationError: string;
  VaultError: string;
}
