/** What the loaded plugins can schedule, filter and score, and which of it concerns a job. */
import type { AdmissionHook, Evaluation, Job, OfferedPart, SchedulerRules } from "@drover/plugin-sdk";
import { parseScorer, type Selection, selectParts, unknownPart } from "@drover/plugin-sdk/scheduling";
import { type CheckedScheduler, isBuiltinModule, PluginError } from "../kernel/index.js";

/** Something wrong in the operator's `scheduler` blocks. */
export interface RuleProblem {
  /** Keys from the top of the configuration. */
  readonly path: readonly string[];
  /** The entry of the list that is wrong, where it is one. */
  readonly value?: string;
  readonly message: string;
}

interface Owned extends OfferedPart {
  readonly plugin: string;
  readonly builtIn: boolean;
}

/** Admission hooks of plugins may change a job; what it names is looked at after them. */
const ADMISSION_ORDER = 1_000;

export class SchedulerCatalog {
  readonly #owners = new Map<string, { readonly plugin: string; readonly builtIn: boolean }>();
  readonly #filters = new Map<string, Owned>();
  readonly #scorers = new Map<string, Owned>();

  /** Throws `PluginError` where two plugins bring the same thing. */
  constructor(
    readonly plugins: readonly CheckedScheduler[],
    readonly rules: SchedulerRules,
  ) {
    for (const { plugin, module, types, filters, scorers } of plugins) {
      const builtIn = isBuiltinModule(module.module);
      const add = <T>(
        what: string,
        map: Map<string, T & { readonly plugin: string }>,
        key: string,
        one: T,
      ) => {
        const other = map.get(key);
        if (other !== undefined)
          throw new PluginError(
            plugin,
            `plugins "${other.plugin}" and "${plugin}" both ${what} "${key}"; switch one of them off`,
          );
        map.set(key, { ...one, plugin });
      };
      for (const type of types) add("schedule jobs of type", this.#owners, type, { builtIn });
      for (const part of filters) add("bring a node filter", this.#filters, part.name, { ...part, builtIn });
      for (const part of scorers) add("bring a node scorer", this.#scorers, part.name, { ...part, builtIn });
    }
  }

  /** Modules of the built-in plugins. */
  get builtIn(): readonly CheckedScheduler[] {
    return this.plugins.filter(({ module }) => isBuiltinModule(module.module));
  }

  /** Whether any plugin comes from elsewhere. */
  get hasGuests(): boolean {
    return this.builtIn.length < this.plugins.length;
  }

  /** Whether a plugin from elsewhere handles the job type. */
  guestType(type: string): boolean {
    return this.#owners.get(type)?.builtIn === false;
  }

  /** Whether any code from elsewhere takes part in placing a job; `job` is called only where that depends on the job. */
  guestsPlace(evaluation: Pick<Evaluation, "Type">, job: () => Job | null): boolean {
    if (this.guestType(evaluation.Type)) return true;
    const guests = [...this.#filters.values(), ...this.#scorers.values()].filter(({ builtIn }) => !builtIn);
    if (guests.length === 0) return false;
    if (guests.some(({ applies }) => applies === "always")) return true;
    const found = job();
    if (found === null) return false;
    const { filters, scorers } = this.select(found);
    return guests.some(({ name }) => filters.includes(name) || scorers.has(name));
  }

  /** The plugins at work on an evaluation, in words. */
  culprit(evaluation: Pick<Evaluation, "Type">, job: Job | null): string {
    const plugin = this.#owners.get(evaluation.Type)?.plugin ?? evaluation.Type;
    const { filters, scorers } =
      job === null ? { filters: [], scorers: new Map<string, number>() } : this.select(job);
    const parts = [
      ...filters.flatMap((name) => partText("node filter", this.#filters.get(name))),
      ...[...scorers.keys()].flatMap((name) => partText("node scorer", this.#scorers.get(name))),
    ];
    return `scheduler plugin "${plugin}"${parts.length === 0 ? "" : ` with ${parts.join(", ")}`}`;
  }

  select(job: Pick<Job, "Type" | "Namespace" | "Meta">): Selection {
    return selectParts(job, this.rules, { filters: this.#filters.values(), scorers: this.#scorers.values() });
  }

  /** Milliseconds for an evaluation of a job type; undefined where the operator didn't say. */
  deadline(type: string): number | undefined {
    const own = Object.hasOwn(this.rules, type) ? this.rules[type]?.deadline : undefined;
    return own ?? this.rules["*"]?.deadline;
  }

  /** Refuses jobs whose meta names what no plugin brings. */
  admissionHook(): AdmissionHook {
    return {
      name: "scheduling-plugins",
      order: ADMISSION_ORDER,
      admit: ({ job }) => ({ errors: [...this.select(job).problems] }),
    };
  }

  /** What is wrong with the operator's blocks. `nackTimeout`: milliseconds after which an evaluation is delivered again. */
  ruleProblems(nackTimeout: number): RuleProblem[] {
    const problems: RuleProblem[] = [];
    for (const [type, rule] of Object.entries(this.rules)) {
      const block = ["scheduler", type];
      if (type !== "*" && !this.#owners.has(type)) {
        const known = [...this.#owners.keys(), "*"]
          .map((one) => `"${one}"`)
          .sort()
          .join(", ");
        problems.push({
          path: block,
          message: `no scheduler handles jobs of type "${type}"; known: ${known}`,
        });
      }
      if (rule.deadline !== undefined && !(rule.deadline > 0 && rule.deadline < nackTimeout)) {
        const message = `must be above 0 and below server.eval_nack_timeout (${nackTimeout / 1000} s)`;
        problems.push({ path: [...block, "deadline"], message });
      }
      const places = Object.entries(rule.namespaces).map(
        ([name, parts]) => [[...block, "namespace", name], parts] as const,
      );
      for (const [path, { filters, scorers }] of [[block, rule] as const, ...places]) {
        for (const name of filters) {
          if (this.#filters.has(name)) continue;
          const message = unknownPart("node filter", name, this.#filters.values());
          problems.push({ path: [...path, "filters"], value: name, message });
        }
        for (const text of scorers) {
          const message = this.#scorerProblem(text);
          if (message !== null) problems.push({ path: [...path, "scorers"], value: text, message });
        }
      }
    }
    return problems;
  }

  #scorerProblem(text: string): string | null {
    try {
      const { name } = parseScorer(text);
      return this.#scorers.has(name) ? null : unknownPart("node scorer", name, this.#scorers.values());
    } catch (error) {
      return (error as Error).message;
    }
  }
}

function partText(kind: string, part: Owned | undefined): string[] {
  return part === undefined ? [] : [`${kind} "${part.name}" of plugin "${part.plugin}"`];
}
