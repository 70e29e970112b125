/**
 * What the state store derives of jobs from their allocations and evaluations: summary, status, and which versions are
 * still needed. Gathered over one log entry and written once at its end, however many allocations the entry places.
 */
import {
  type Allocation,
  allocIsTerminal,
  type Evaluation,
  evalTerminal,
  JOB_TRACKED_VERSIONS,
  type Job,
  type JobChildrenSummary,
  JobStatus,
  type JobSummary,
  type TaskGroupSummary,
} from "@drover/plugin-sdk";
import { statusOf } from "./read/job-status.js";
import { jobKey } from "./read/keys.js";
import type { JobReferences } from "./read/schema.js";

/** The rows that accounts are made of; a transaction has them. */
export interface JobRows {
  /** Index of the entry being applied. */
  readonly index: number;
  job(namespace: string, id: string): Job | null;
  versionsOf(namespace: string, id: string, createIndex: number): Job[];
  jobSummary(namespace: string, id: string): JobSummary | null;
  jobReferences(namespace: string, id: string): JobReferences | null;
  putJob(job: Job, previous: Job | null): void;
  putJobSummary(summary: JobSummary): void;
  removeJobSummary(namespace: string, id: string): void;
  putJobReferences(namespace: string, id: string, references: JobReferences | null): void;
  removeJobVersion(namespace: string, id: string, createIndex: number, version: number): void;
}

/** What of an allocation the accounts count by. */
export type PlacedFields = Pick<
  Allocation,
  "Namespace" | "JobID" | "JobVersion" | "JobCreateIndex" | "TaskGroup" | "ClientStatus" | "DesiredStatus"
>;

interface Account {
  readonly namespace: string;
  readonly id: string;
  readonly references: JobReferences;
  referencesChanged: boolean;
  summary: JobSummary | null;
  summaryChanged: boolean;
  /** Status must be derived again when the entry ends. */
  statusDue: boolean;
  /** An evaluation was deleted: a job that nothing is known of any more is dead, not pending. */
  evaluationDeleted: boolean;
  /** Versions that lost their last allocation: `<create index>/<version>`. */
  readonly unreferenced: Set<string>;
}

const BUCKETS: Readonly<Record<Allocation["ClientStatus"], keyof TaskGroupSummary>> = {
  pending: "Starting",
  running: "Running",
  complete: "Complete",
  failed: "Failed",
  lost: "Lost",
};

const CHILD_BUCKETS: Readonly<Record<JobStatus, keyof JobChildrenSummary>> = {
  pending: "Pending",
  running: "Running",
  dead: "Dead",
};

export function emptyGroupSummary(): TaskGroupSummary {
  return { Complete: 0, Failed: 0, Lost: 0, Queued: 0, Running: 0, Starting: 0 };
}

export class JobAccounts {
  private readonly open = new Map<string, Account>();

  constructor(private readonly txn: JobRows) {}

  private account(namespace: string, id: string): Account {
    const key = jobKey(namespace, id);
    let account = this.open.get(key);
    if (account === undefined) {
      account = {
        namespace,
        id,
        references: this.txn.jobReferences(namespace, id) ?? {
          Allocations: 0,
          LiveAllocations: 0,
          Evaluations: 0,
          LiveEvaluations: 0,
          Versions: {},
        },
        referencesChanged: false,
        summary: this.txn.jobSummary(namespace, id),
        summaryChanged: false,
        statusDue: false,
        evaluationDeleted: false,
        unreferenced: new Set(),
      };
      this.open.set(key, account);
    }
    return account;
  }

  /** `count` allocations appeared that have these fields in common. */
  allocationsPlaced(row: PlacedFields, count: number): void {
    const account = this.account(row.Namespace, row.JobID);
    const { references } = account;
    references.Allocations += count;
    if (!allocIsTerminal(row)) references.LiveAllocations += count;
    const version = versionRef(row);
    references.Versions[version] = (references.Versions[version] ?? 0) + count;
    account.referencesChanged = true;
    account.statusDue = true;
    const counts = groupOf(account, row);
    if (counts === undefined) return;
    counts.Queued = Math.max(0, counts.Queued - count);
    counts[BUCKETS[row.ClientStatus]] += count;
    account.summaryChanged = true;
  }

  allocationChanged(row: Allocation, previous: Allocation | null): void {
    if (previous === null) {
      this.allocationsPlaced(row, 1);
      return;
    }
    const account = this.account(row.Namespace, row.JobID);
    const { references } = account;
    const before = allocIsTerminal(previous) ? 0 : 1;
    const after = allocIsTerminal(row) ? 0 : 1;
    references.LiveAllocations += after - before;
    const version = versionRef(row);
    const oldVersion = versionRef(previous);
    if (version !== oldVersion) {
      references.Versions[version] = (references.Versions[version] ?? 0) + 1;
      release(account, oldVersion);
    }
    if (after !== before || version !== oldVersion) account.referencesChanged = true;
    account.statusDue = true;
    const counts = groupOf(account, row);
    if (counts === undefined || previous.ClientStatus === row.ClientStatus) return;
    const left = BUCKETS[previous.ClientStatus];
    if (counts[left] > 0) counts[left] -= 1;
    counts[BUCKETS[row.ClientStatus]] += 1;
    account.summaryChanged = true;
  }

  allocationRemoved(row: Allocation): void {
    const account = this.account(row.Namespace, row.JobID);
    account.references.Allocations -= 1;
    if (!allocIsTerminal(row)) account.references.LiveAllocations -= 1;
    release(account, versionRef(row));
    account.referencesChanged = true;
  }

  evaluationChanged(row: Evaluation, previous: Evaluation | null): void {
    const account = this.account(row.Namespace, row.JobID);
    const before = previous !== null && !evalTerminal(previous) ? 1 : 0;
    const after = evalTerminal(row) ? 0 : 1;
    if (previous === null) account.references.Evaluations += 1;
    account.references.LiveEvaluations += after - before;
    if (previous === null || after !== before) account.referencesChanged = true;
    account.statusDue = true;
    for (const [group, queued] of Object.entries(row.QueuedAllocations ?? {})) {
      const counts = ownGroup(account.summary, group);
      if (counts === undefined || counts.Queued === queued) continue;
      counts.Queued = queued;
      account.summaryChanged = true;
    }
  }

  evaluationRemoved(row: Evaluation): void {
    const account = this.account(row.Namespace, row.JobID);
    account.references.Evaluations -= 1;
    if (!evalTerminal(row)) account.references.LiveEvaluations -= 1;
    account.referencesChanged = true;
    account.statusDue = true;
    account.evaluationDeleted = true;
  }

  /** Makes the summary of a job that was registered, or adds its new groups. */
  jobRegistered(job: Job): void {
    const account = this.account(job.Namespace, job.ID);
    if (account.summary === null) {
      account.summary = {
        Children: { Dead: 0, Pending: 0, Running: 0 },
        CreateIndex: this.txn.index,
        JobID: job.ID,
        ModifyIndex: this.txn.index,
        Namespace: job.Namespace,
        Summary: {},
      };
      account.summaryChanged = true;
    }
    for (const group of job.TaskGroups) {
      if (ownGroup(account.summary, group.Name) !== undefined) continue;
      account.summary.Summary[group.Name] = emptyGroupSummary();
      account.summaryChanged = true;
    }
    account.statusDue = true;
  }

  /** Drops what was kept of a purged job; its versions stay while allocations refer to them. */
  jobPurged(job: Job): void {
    const account = this.account(job.Namespace, job.ID);
    account.summary = null;
    account.summaryChanged = false;
    account.statusDue = false;
    this.txn.removeJobSummary(job.Namespace, job.ID);
    for (const version of this.txn.versionsOf(job.Namespace, job.ID, job.CreateIndex)) {
      const ref = `${version.CreateIndex}/${version.Version}`;
      if (account.references.Versions[ref] === undefined) {
        this.txn.removeJobVersion(job.Namespace, job.ID, version.CreateIndex, version.Version);
      }
    }
    if (job.ParentID !== "" && job.Status !== JobStatus.Dead && job.Status !== "") {
      this.moveChild(job.Namespace, job.ParentID, job.Status, JobStatus.Dead);
    }
  }

  /** Removes versions beyond the newest six and the newest stable one, unless allocations still run them. */
  pruneVersions(job: Job): void {
    const all = this.txn.versionsOf(job.Namespace, job.ID, job.CreateIndex);
    if (all.length <= JOB_TRACKED_VERSIONS) return;
    const { references } = this.account(job.Namespace, job.ID);
    const stable = all.find((version) => version.Stable);
    for (const version of all.slice(JOB_TRACKED_VERSIONS)) {
      if (version === stable || references.Versions[`${job.CreateIndex}/${version.Version}`] !== undefined)
        continue;
      this.txn.removeJobVersion(job.Namespace, job.ID, job.CreateIndex, version.Version);
    }
  }

  /** Writes everything gathered and starts afresh. */
  flush(): void {
    // Deriving a child's status opens its parent's account, so the map grows on the way.
    for (const account of this.open.values()) {
      if (account.statusDue) this.deriveStatus(account);
      this.dropVersions(account);
    }
    for (const account of this.open.values()) this.store(account);
    this.open.clear();
  }

  private store(account: Account): void {
    const { namespace, id, references } = account;
    if (account.summaryChanged && account.summary !== null) {
      account.summary.ModifyIndex = this.txn.index;
      this.txn.putJobSummary(account.summary);
    }
    if (account.referencesChanged) {
      const none = references.Allocations === 0 && references.Evaluations === 0;
      this.txn.putJobReferences(namespace, id, none ? null : references);
    }
  }

  /**
   * Status as Nomad derives it: system, periodic and parameterized jobs run until stopped; others run while an allocation
   * does, are pending while an evaluation is open or nothing has happened yet, and dead after that.
   */
  private deriveStatus(account: Account): void {
    const job = this.txn.job(account.namespace, account.id);
    if (job === null) return;
    const status = statusOf(job, account.references, account.evaluationDeleted);
    if (status === job.Status) return;
    const previous = job.Status;
    const updated: Job = { ...job, Status: status, ModifyIndex: this.txn.index };
    this.txn.putJob(updated, job);
    if (job.ParentID !== "") this.moveChild(job.Namespace, job.ParentID, previous, status);
  }

  private moveChild(namespace: string, parentId: string, from: JobStatus | "", to: JobStatus): void {
    const parent = this.account(namespace, parentId);
    const children = parent.summary?.Children;
    if (children === null || children === undefined) return;
    if (from !== "" && children[CHILD_BUCKETS[from]] > 0) children[CHILD_BUCKETS[from]] -= 1;
    children[CHILD_BUCKETS[to]] += 1;
    parent.summaryChanged = true;
  }

  /** Drops versions whose last allocation went, where the job itself does not keep them. */
  private dropVersions(account: Account): void {
    const { namespace, id, references, unreferenced } = account;
    if (unreferenced.size === 0) return;
    const job = this.txn.job(namespace, id);
    for (const ref of unreferenced) {
      if (references.Versions[ref] !== undefined) continue;
      const [createIndex = 0, version = 0] = ref.split("/").map(Number);
      if (job?.CreateIndex !== createIndex) this.txn.removeJobVersion(namespace, id, createIndex, version);
    }
    if (job !== null) this.pruneVersions(job);
  }
}

/** The counts that an allocation is in. One of a purged job says nothing about a later job of the same name. */
function groupOf(account: Account, row: PlacedFields): TaskGroupSummary | undefined {
  const { summary } = account;
  if (summary === null || summary.CreateIndex !== row.JobCreateIndex) return undefined;
  return ownGroup(summary, row.TaskGroup);
}

function versionRef(row: Pick<Allocation, "JobCreateIndex" | "JobVersion">): string {
  return `${row.JobCreateIndex ?? 0}/${row.JobVersion}`;
}

function release(account: Account, ref: string): void {
  const left = (account.references.Versions[ref] ?? 1) - 1;
  if (left > 0) {
    account.references.Versions[ref] = left;
    return;
  }
  delete account.references.Versions[ref];
  account.unreferenced.add(ref);
}

function ownGroup(summary: JobSummary | null, group: string): TaskGroupSummary | undefined {
  return summary !== null && Object.hasOwn(summary.Summary, group) ? summary.Summary[group] : undefined;
}
