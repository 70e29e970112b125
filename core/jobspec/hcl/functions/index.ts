import type { HclFunction } from "../evaluate.js";
import { collectionFunctions } from "./collection.js";
import { datetimeFunctions } from "./datetime.js";
import { encodingFunctions } from "./encoding.js";
import { filesystemFunctions, refusedFilesystemFunctions } from "./filesystem.js";
import { networkFunctions } from "./network.js";
import { numericFunctions } from "./numeric.js";
import { stringFunctions } from "./string.js";

/**
 * The functions Nomad documents for HCL2 (https://developer.hashicorp.com/nomad/docs/job-specification/hcl2/functions);
 * try(), can() and convert() belong to the evaluator. `folder` is where relative paths start, or null where reading
 * files is not allowed.
 */
export function standardFunctions(folder: string | null): Readonly<Record<string, HclFunction>> {
  return {
    ...collectionFunctions,
    ...datetimeFunctions,
    ...encodingFunctions,
    ...networkFunctions,
    ...numericFunctions,
    ...stringFunctions,
    ...(folder === null ? refusedFilesystemFunctions() : filesystemFunctions(folder)),
  };
}
