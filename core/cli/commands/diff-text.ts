/** Differences of jobs in words, as `job plan` and `job history -p` print them. */
import {
  DiffAnnotation,
  DiffType,
  type FieldDiff,
  type JobDiff,
  type ObjectDiff,
  type TaskDiff,
  type TaskGroupDiff,
  UpdateType,
} from "@drover/plugin-sdk";
import { blue, bold, type CommandIo, cyan, green, red, yellow } from "../io.js";

type Paint = (io: CommandIo, text: string) => string;

const plain: Paint = (_, text) => text;

const MARKS: Readonly<Record<DiffType, readonly [mark: string, paint: Paint]>> = {
  [DiffType.Added]: ["+", green],
  [DiffType.Deleted]: ["-", red],
  [DiffType.Edited]: ["+/-", yellow],
  [DiffType.None]: ["", plain],
};

const ANNOTATION_PAINT: Readonly<Record<string, Paint>> = {
  [DiffAnnotation.ForcesCreate]: green,
  [DiffAnnotation.ForcesDestroy]: red,
  [DiffAnnotation.ForcesInplaceUpdate]: cyan,
  [DiffAnnotation.ForcesDestructiveUpdate]: yellow,
};

const UPDATE_PAINT: Readonly<Record<string, Paint>> = {
  [UpdateType.Create]: green,
  [UpdateType.Destroy]: red,
  [UpdateType.Migrate]: blue,
  [UpdateType.Canary]: yellow,
  [UpdateType.InplaceUpdate]: cyan,
  [UpdateType.DestructiveUpdate]: yellow,
  [UpdateType.Preemptions]: yellow,
};

interface Marked {
  readonly Type: DiffType;
}

/** What is inside of jobs, groups, tasks and blocks alike. */
interface Contents {
  readonly Fields: FieldDiff[] | null;
  readonly Objects: ObjectDiff[] | null;
}

const NOTHING: Contents = { Fields: null, Objects: null };

/** The difference as text. What was added or deleted as a whole is only named, unless `verbose`. */
export function diffText(diff: JobDiff, verbose: boolean, io: CommandIo): string {
  return new DiffText(verbose, io).job(diff).join("\n");
}

class DiffText {
  constructor(
    private readonly verbose: boolean,
    private readonly io: CommandIo,
  ) {}

  job(diff: JobDiff): string[] {
    const shown = this.#shown(diff);
    const groups = diff.TaskGroups ?? [];
    const width = widthOf(shown, groups);
    return [
      `${this.#lead(diff.Type, 0)}${bold(this.io, `Job: ${JSON.stringify(diff.ID)}`)}`,
      ...this.#contents(shown, 0, width),
      ...groups.flatMap((group) => this.#group(group, width)),
    ];
  }

  #group(diff: TaskGroupDiff, width: number): string[] {
    const shown = this.#shown(diff);
    const tasks = diff.Tasks ?? [];
    // Nothing in an unchanged group has a mark: its tasks stay to the right of its name.
    const inner = diff.Type === DiffType.None ? width : widthOf(shown, tasks);
    const title = bold(this.io, `Task Group: ${JSON.stringify(diff.Name)}`);
    return [
      `${this.#lead(diff.Type, width)}${title}${this.#updates(diff.Updates)}`,
      ...this.#contents(shown, 2, inner),
      ...tasks.flatMap((task) => this.#task(task, inner)),
    ];
  }

  #task(diff: TaskDiff, width: number): string[] {
    const shown = this.#shown(diff);
    const title = bold(this.io, `Task: ${JSON.stringify(diff.Name)}`);
    return [
      `  ${this.#lead(diff.Type, width)}${title}${this.#annotations(diff.Annotations)}`,
      ...this.#contents(shown, 4, widthOf(shown)),
    ];
  }

  #shown<T extends Contents & Marked>(diff: T): Contents {
    return this.verbose || diff.Type === DiffType.Edited ? diff : NOTHING;
  }

  #contents({ Fields, Objects }: Contents, indent: number, width: number): string[] {
    return [
      ...this.#fields(Fields ?? [], indent, width),
      ...(Objects ?? []).flatMap((object) => this.#object(object, indent, width)),
    ];
  }

  #fields(fields: readonly FieldDiff[], indent: number, width: number): string[] {
    const rows = fields.map((field) => ({ field, name: `${field.Name}:`, value: valueText(field) }));
    const names = Math.max(0, ...rows.map(({ name }) => name.length));
    const values = Math.max(0, ...rows.map(({ value }) => value.length));
    return rows.map(({ field, name, value }) => {
      const notes = this.#annotations(field.Annotations);
      const text = notes === "" ? value : `${value.padEnd(values)}${notes}`;
      return `${" ".repeat(indent)}${this.#lead(field.Type, width)}${name.padEnd(names)} ${text}`;
    });
  }

  #object(diff: ObjectDiff, indent: number, width: number): string[] {
    const start = " ".repeat(indent);
    return [
      `${start}${this.#lead(diff.Type, width)}${diff.Name} {`,
      ...this.#contents(diff, indent + 2, widthOf(diff)),
      `${start}${" ".repeat(width)}}`,
    ];
  }

  /** The mark of a difference, as wide as the widest of its neighbours. */
  #lead(type: DiffType, width: number): string {
    const [mark, paint] = MARKS[type];
    const own = mark === "" ? "" : `${paint(this.io, mark)} `;
    return own + " ".repeat(Math.max(0, width - leadLength(type)));
  }

  #annotations(annotations: readonly string[] | null): string {
    if (annotations === null || annotations.length === 0) return "";
    const painted = annotations.map((text) => (ANNOTATION_PAINT[text] ?? plain)(this.io, text));
    return ` (${painted.join(", ")})`;
  }

  #updates(updates: Readonly<Record<string, number>> | null): string {
    const kinds = Object.entries(updates ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    if (kinds.length === 0) return "";
    const painted = kinds.map(([kind, count]) => (UPDATE_PAINT[kind] ?? plain)(this.io, `${count} ${kind}`));
    return ` (${painted.join(", ")})`;
  }
}

function widthOf({ Fields, Objects }: Contents, others: readonly Marked[] = []): number {
  const all: readonly Marked[] = [...(Fields ?? []), ...(Objects ?? []), ...others];
  return Math.max(0, ...all.map(({ Type }) => leadLength(Type)));
}

function leadLength(type: DiffType): number {
  const [mark] = MARKS[type];
  return mark === "" ? 0 : mark.length + 1;
}

function valueText({ Type, Old, New }: FieldDiff): string {
  if (Type === DiffType.Edited) return `${JSON.stringify(Old)} => ${JSON.stringify(New)}`;
  return JSON.stringify(Type === DiffType.Deleted ? Old : New);
}
