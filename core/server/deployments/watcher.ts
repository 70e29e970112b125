import { setImmediate as nextTurn } from "node:timers/promises";
import type {
  Allocation,
  AllocationUpdate,
  Deployment,
  DesiredTransition,
  Evaluation,
  Logger,
  Metrics,
  StateSnapshot,
} from "@drover/plugin-sdk";
import {
  AllocClientStatus,
  DeploymentStatus,
  DeploymentStatusDescription,
  deploymentActive,
  EvalTrigger,
  serverTerminal,
} from "@drover/plugin-sdk";
import type { Command, PlanCommand, StateStore } from "../../state/index.js";
import { CommandRefused, CommandType, PlanBlock } from "../../state/index.js";
import { Coalesced } from "../coalesced.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import { newEvaluation } from "../nodes/node-evaluations.js";
import { WallDeadlines } from "../wall-deadlines.js";
import { type DeploymentFailure, deploymentFailure } from "./failure.js";
import { brokenGroups, canBePromoted, healthyCount, lateGroups, progressDeadline } from "./progress.js";

/** Milliseconds over which news of all deployments are gathered into one entry of the log. */
const GATHERING = 250;
/** Milliseconds before something that could not be written is tried again. */
const RETRY = 1_000;
/** Deployments, and allocations that may be replaced, of one entry of the log. */
const BATCH = 500;
/** Deployments that are looked at before the event loop has a turn. */
const SLICE = 20;

interface Watched {
  /** Healthy allocations for which there was an evaluation already; -1: it isn't known for how many. */
  evaluated: number;
  /** Allocations that failed, and that nobody has allowed to be replaced. */
  readonly failed: Set<string>;
}

/** What one look at the deployments came to. */
interface Findings {
  readonly evaluations: { readonly deployment: string; readonly evaluation: Evaluation }[];
  readonly replaceable: Map<string, string[]>;
  readonly promotions: { readonly deployment: string; readonly evaluation: Evaluation }[];
  readonly failures: { readonly deployment: Deployment; readonly why: string; readonly revert: boolean }[];
}

const MAY_BE_REPLACED: DesiredTransition = { ForceReschedule: null, Migrate: null, Reschedule: true };

/**
 * Watches the deployments that are active while this server leads: has the scheduler go on when allocations become healthy,
 * lets failed ones be replaced, promotes canaries that promote themselves, and fails what makes no progress. Success is the
 * scheduler's to say. It learns from the committed commands which deployment changed, and reads that one alone.
 */
export class DeploymentWatcher {
  #enabled = false;
  /** Counts terms of leadership: what was found in one is not written in another. */
  #term = 0;
  readonly #watched = new Map<string, Watched>();
  readonly #changed = new Set<string>();
  readonly #deadlines = new WallDeadlines((id) => this.#look(id));
  readonly #turn = new Coalesced(
    GATHERING,
    () => this.#work(),
    (error) => this.log.error({ error: text(error) }, "deployments could not be looked at"),
  );

  constructor(
    private readonly state: StateStore,
    private readonly commands: CommandLog,
    private readonly log: Logger,
    private readonly metrics: Metrics,
  ) {}

  /** Deployments under watch. */
  get active(): number {
    return this.#watched.size;
  }

  /** On becoming leader. */
  enable(snapshot: StateSnapshot): void {
    this.#enabled = true;
    for (const deployment of snapshot.deployments()) {
      if (!deploymentActive(deployment)) continue;
      // Where nothing is healthy yet, there is nothing that the leader before can have missed.
      const watched = this.#watch(deployment.ID, healthyCount(deployment) === 0 ? 0 : -1);
      // What ended badly under the leader before.
      if (!mayHaveFailed(snapshot, deployment)) continue;
      for (const allocation of snapshot.allocationsByDeployment(deployment.ID)) {
        if (hasFailed(allocation)) watched.failed.add(allocation.ID);
      }
    }
    if (this.#watched.size > 0) this.log.info({ deployments: this.#watched.size }, "deployments restored");
  }

  disable(): void {
    this.#enabled = false;
    this.#term++;
    this.#turn.cancel();
    this.#deadlines.clearAll();
    this.#watched.clear();
    this.#changed.clear();
  }

  /** Takes every command that is committed while this server leads. */
  committed(command: Command): void {
    switch (command.type) {
      case CommandType.PlanApply:
        this.#planned(command.payload);
        break;
      case CommandType.AllocationClientUpdate:
        this.#reported(command.payload.Updates);
        break;
      case CommandType.DeploymentStatusUpdate:
        this.#look(command.payload.Update.DeploymentID);
        break;
      case CommandType.DeploymentPromote:
      case CommandType.DeploymentAllocHealth:
        this.#look(command.payload.DeploymentID);
        break;
      default:
        break;
    }
  }

  #planned({ Deployment: made, DeploymentUpdates, Placed }: PlanCommand): void {
    if (made !== null) this.#watch(made.ID, 0);
    if (this.#watched.size === 0) return;
    for (const { DeploymentID } of DeploymentUpdates) this.#look(DeploymentID);
    // The first placement starts the clock of a group.
    for (const { DeploymentID } of Placed instanceof PlanBlock ? Placed.templates : Placed)
      this.#look(DeploymentID);
  }

  #reported(updates: readonly AllocationUpdate[]): void {
    if (this.#watched.size === 0) return;
    const news = updates.filter(
      (update) =>
        update.ClientStatus === AllocClientStatus.Failed ||
        (update.DeploymentStatus?.Healthy ?? null) !== null,
    );
    if (news.length === 0) return;
    using snapshot = this.state.snapshot();
    for (const { ID } of news) {
      const allocation = snapshot.allocation(ID);
      const watched = allocation === null ? undefined : this.#watched.get(allocation.DeploymentID);
      if (allocation === null || watched === undefined) continue;
      if (hasFailed(allocation)) watched.failed.add(ID);
      this.#look(allocation.DeploymentID);
    }
  }

  /** `evaluated` is that of one that is not watched yet. */
  #watch(id: string, evaluated: number): Watched {
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = { evaluated, failed: new Set() };
      this.#watched.set(id, watched);
    }
    this.#look(id);
    return watched;
  }

  /** Has a watched deployment looked at in the next turn. */
  #look(id: string, delay?: number): void {
    if (!this.#watched.has(id)) return;
    this.#changed.add(id);
    this.#turn.request(delay);
  }

  #forget(id: string): void {
    this.#watched.delete(id);
    this.#changed.delete(id);
    this.#deadlines.clear(id);
  }

  async #work(): Promise<void> {
    const term = this.#term;
    const ids = [...this.#changed];
    this.#changed.clear();
    const found: Findings = { evaluations: [], replaceable: new Map(), promotions: [], failures: [] };
    for (let at = 0; at < ids.length && term === this.#term; at += SLICE) {
      this.#judgeAll(ids.slice(at, at + SLICE), found);
      await nextTurn();
    }
    if (term !== this.#term) return;
    const work = [
      ...this.#writeProgress(found),
      ...found.promotions.map((promotion) => this.#promote(promotion)),
      ...found.failures.map((failure) => this.#fail(failure)),
    ];
    await Promise.all(work);
  }

  /** One that can't be read must not be forgotten with the news that brought it here. */
  #judgeAll(ids: readonly string[], found: Findings): void {
    try {
      using snapshot = this.state.snapshot();
      for (const id of ids) this.#judge(snapshot, id, found);
    } catch (error) {
      this.log.error(
        { deployments: ids.length, error: text(error) },
        "deployments could not be read; tried again",
      );
      for (const id of ids) this.#look(id, RETRY);
    }
  }

  #judge(snapshot: StateSnapshot, id: string, found: Findings): void {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    const deployment = snapshot.deployment(id);
    if (deployment === null || !deploymentActive(deployment)) {
      this.#forget(id);
      return;
    }
    const job = snapshot.job(deployment.Namespace, deployment.JobID);
    const isCurrent =
      job !== null &&
      !job.Stop &&
      job.CreateIndex === deployment.JobCreateIndex &&
      job.Version === deployment.JobVersion;
    // One that is paused has all the time it wants; one of an older version is the scheduler's to cancel.
    if (deployment.Status !== DeploymentStatus.Running || !isCurrent) {
      this.#deadlines.clear(id);
      return;
    }
    this.#deadlines.set(id, progressDeadline(deployment));
    const broken = brokenGroups(deployment);
    const late = this.#deadlines.isDue(id) ? lateGroups(deployment) : [];
    if (broken.length > 0 || late.length > 0) {
      const why =
        broken.length > 0
          ? DeploymentStatusDescription.FailedAllocations
          : DeploymentStatusDescription.ProgressDeadline;
      found.failures.push({
        deployment,
        why,
        revert: [...broken, ...late].some((group) => group.AutoRevert),
      });
      return;
    }
    const evaluation = newEvaluation(job, EvalTrigger.DeploymentWatcher, { DeploymentID: id });
    if (canBePromoted(snapshot, deployment)) {
      found.promotions.push({ deployment: id, evaluation });
      return;
    }
    const healthy = healthyCount(deployment);
    const failed = [...watched.failed].filter((allocation) => {
      const row = snapshot.allocation(allocation);
      return row !== null && hasFailed(row);
    });
    watched.failed.clear();
    if (failed.length === 0 && healthy === watched.evaluated) return;
    watched.evaluated = healthy;
    if (failed.length > 0) found.replaceable.set(id, failed);
    found.evaluations.push({ deployment: id, evaluation });
  }

  #writeProgress({ evaluations, replaceable }: Findings): Promise<void>[] {
    const writes: Promise<void>[] = [];
    let batch: Findings["evaluations"] = [];
    let transitions: Record<string, DesiredTransition> = {};
    let size = 0;
    const write = (): void => {
      if (batch.length === 0) return;
      const ids = batch.map(({ deployment }) => deployment);
      const payload = {
        Transitions: transitions,
        Evaluations: batch.map(({ evaluation }) => evaluation),
        Time: unixNanos(),
      };
      writes.push(
        this.#write(
          ids,
          () => this.commands.propose(CommandType.AllocationDesiredTransition, payload),
          () => {
            for (const id of ids) {
              const watched = this.#watched.get(id);
              if (watched === undefined) continue;
              watched.evaluated = -1;
              for (const allocation of replaceable.get(id) ?? []) watched.failed.add(allocation);
            }
          },
        ),
      );
      batch = [];
      transitions = {};
      size = 0;
    };
    for (const each of evaluations) {
      const failed = replaceable.get(each.deployment) ?? [];
      for (const allocation of failed) transitions[allocation] = MAY_BE_REPLACED;
      batch.push(each);
      size += 1 + failed.length;
      if (size >= BATCH) write();
    }
    write();
    return writes;
  }

  #promote({ deployment, evaluation }: Findings["promotions"][number]): Promise<void> {
    this.log.info({ deployment, job: evaluation.JobID }, "canaries are healthy and promoted");
    return this.#write([deployment], () =>
      this.commands.propose(CommandType.DeploymentPromote, {
        DeploymentID: deployment,
        All: true,
        Groups: [],
        Evaluation: evaluation,
        Time: unixNanos(),
      }),
    );
  }

  #fail({ deployment, why, revert }: Findings["failures"][number]): Promise<void> {
    return this.#write([deployment.ID], async () => {
      const { payload, revertedVersion } = this.#failure(deployment, why, revert);
      await this.commands.propose(CommandType.DeploymentStatusUpdate, payload);
      this.metrics.increment("nomad.deployment.failed");
      this.log.warn(
        { deployment: deployment.ID, job: deployment.JobID, version: deployment.JobVersion, revertedVersion },
        `deployment failed: ${payload.Update.StatusDescription}`,
      );
    });
  }

  #failure(deployment: Deployment, why: string, revert: boolean): DeploymentFailure {
    using snapshot = this.state.snapshot();
    return deploymentFailure(snapshot, deployment, why, revert);
  }

  async #write(
    ids: readonly string[],
    propose: () => Promise<unknown>,
    undo: () => void = () => undefined,
  ): Promise<void> {
    if (!this.#enabled) return;
    try {
      await propose();
    } catch (error) {
      if (!this.#enabled) return;
      undo();
      // A refusal is no trouble: the deployment changed meanwhile, and is looked at as it is now.
      if (!(error instanceof CommandRefused)) {
        this.log.warn(
          { deployments: ids.length, error: text(error) },
          "deployments could not be written; tried again",
        );
      }
      for (const id of ids) this.#look(id, RETRY);
    }
  }
}

/** It ended badly, or was found unhealthy, and nobody has said yet that it may be replaced. */
function hasFailed(allocation: Allocation): boolean {
  return (
    !serverTerminal(allocation) &&
    allocation.DesiredTransition?.Reschedule !== true &&
    (allocation.ClientStatus === AllocClientStatus.Failed || allocation.DeploymentStatus?.Healthy === false)
  );
}

function mayHaveFailed(snapshot: StateSnapshot, deployment: Deployment): boolean {
  const summary = snapshot.jobSummary(deployment.Namespace, deployment.JobID)?.Summary ?? {};
  return Object.entries(deployment.TaskGroups).some(
    ([name, group]) => group.UnhealthyAllocs > 0 || (summary[name]?.Failed ?? 0) > 0,
  );
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
