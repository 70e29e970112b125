import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { JobInput } from "@drover/plugin-sdk";
import { Decoder } from "./decode.js";
import { jsonError } from "./hcl/config.js";
import { type Diagnostic, didYouMean, HclError } from "./hcl/error.js";
import { Budget, Evaluator } from "./hcl/evaluate.js";
import { standardFunctions } from "./hcl/functions/index.js";
import { locateJson } from "./hcl/json-positions.js";
import { type ParseLimits, parseHcl } from "./hcl/parser.js";
import { Source } from "./hcl/source.js";
import type { Block, HclDocument } from "./hcl/syntax.js";
import { JobJsonError, jobFromJson } from "./json.js";
import { jobSchema } from "./schema.js";
import { type VariableInputs, Variables } from "./variables.js";

export interface ParseJobOptions extends VariableInputs {
  /** For messages, and the start of relative paths in file functions; default "input.hcl", as the API calls it. */
  filename?: string;
  /** Whether file functions may read the disk: on the command line only. Default false. */
  allowFS?: boolean;
  limits?: ParseLimits;
}

/** The text is empty; the API answers 400 with this message. */
export class EmptyJobError extends Error {
  override name = "EmptyJobError";

  constructor() {
    super("Job spec is empty");
  }
}

const TOP_LEVEL = ["job", "variable", "locals"];

/**
 * Reads a job specification, HCL2 or JSON (`{"Job": {…}}` or the job itself), and returns the job as
 * `POST /v1/jobs/parse` shows it with Canonicalize false: null or zero for everything not set.
 * Throws HclError with everything that is wrong, or EmptyJobError.
 */
export async function parseJob(text: string, options: ParseJobOptions = {}): Promise<JobInput> {
  const filename = options.filename ?? "input.hcl";
  if (text === "") throw new EmptyJobError();
  if (/^\uFEFF?\s*\{/.test(text)) return parseJson(new Source(filename, text));
  const document = await parseHcl(text, filename, options.limits);
  const functions = standardFunctions(options.allowFS === true ? dirname(filename) : null);
  const evaluator = new Evaluator(document.source, { variables: new Map(), functions, budget: new Budget() });
  const diagnostics = topLevelDiagnostics(document);
  const variables = new Variables(evaluator, options);
  const names = await variables.resolve(blocksOf(document, "variable"), blocksOf(document, "locals"));
  diagnostics.push(...variables.diagnostics);
  const [job] = blocksOf(document, "job");
  // Without its variables a job would report every use of them.
  if (job === undefined || variables.diagnostics.length > 0) throw new HclError(diagnostics, text);
  const decoder = new Decoder();
  const decoded = decoder.decode({ block: job, evaluator: evaluator.with(names) }, jobSchema);
  diagnostics.push(...decoder.diagnostics);
  if (diagnostics.length === 0) return decoded as JobInput;
  throw new HclError(inOrder(diagnostics), text);
}

function inOrder(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return diagnostics.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

/** Reads the job file at `path`, where the command line runs: file functions may read the disk. */
export async function parseJobFile(
  path: string,
  options: VariableInputs & { limits?: ParseLimits } = {},
): Promise<JobInput> {
  return parseJob(await readFile(path, "utf8"), { ...options, filename: path, allowFS: true });
}

function blocksOf(document: HclDocument, type: string): Block[] {
  return document.body.blocks.filter((block) => block.type === type);
}

/** What is wrong outside the job block; a missing one too. */
function topLevelDiagnostics({ source, body }: HclDocument): Diagnostic[] {
  const wrong = [
    ...body.attributes.map(({ name, nameRange }) =>
      source.diagnostic(
        nameRange,
        "Unsupported argument",
        `An argument named "${name}" is not expected here.`,
      ),
    ),
    ...body.blocks
      .filter((block) => !TOP_LEVEL.includes(block.type))
      .map((block) => {
        const detail = `Blocks of type "${block.type}" are not expected here.${didYouMean(block.type, TOP_LEVEL)}`;
        return source.diagnostic(block.typeRange, "Unsupported block type", detail);
      }),
  ];
  const [job, second] = body.blocks.filter((block) => block.type === "job");
  if (job === undefined) {
    const detail = 'A job block is required: job "NAME" { … }.';
    wrong.push(source.diagnostic({ start: 0, end: 0 }, "Missing job block", detail));
  }
  if (job !== undefined && second !== undefined) {
    const { line } = source.position(job.typeRange.start);
    const detail = `Only one job block is allowed. Another was defined at line ${line}.`;
    wrong.push(source.diagnostic(second.typeRange, "Duplicate job block", detail));
  }
  return wrong;
}

function parseJson(source: Source): JobInput {
  let value: unknown;
  try {
    value = JSON.parse(source.text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw jsonError(source, error);
  }
  const wrapped = typeof value === "object" && value !== null && "Job" in value;
  try {
    return jobFromJson(wrapped ? (value as { Job: unknown }).Job : value);
  } catch (error) {
    if (!(error instanceof JobJsonError)) throw error;
    const diagnostics = error.problems.map((problem): Diagnostic => {
      const [path = "", ...reason] = problem.split(": ");
      const at = locateJson(source, jsonPath(path, wrapped)) ?? { line: 1, column: 1 };
      const end = { endLine: at.line, endColumn: at.column };
      const detail = `${path}: ${reason.join(": ")}.`;
      return { file: source.file, ...at, ...end, summary: "Incorrect value type", detail };
    });
    throw new HclError(inOrder(diagnostics), source.text);
  }
}

/** `Job.TaskGroups[0].Count` as steps into the text. */
function jsonPath(path: string, wrapped: boolean): (string | number)[] {
  const steps = [...path.matchAll(/[^.[\]]+|(?<=\[)\d+/g)].map(([step]) =>
    /^\d+$/.test(step) ? Number(step) : step,
  );
  return wrapped ? steps : steps.slice(1);
}
