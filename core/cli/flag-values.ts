/** Values of flags, as Go's flag package reads them. */
import { InvalidArgumentError } from "commander";

/** A flag that is true or false. */
export function truth(value: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw new InvalidArgumentError("It must be true or false.");
}

export function wholeNumber(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number))
    throw new InvalidArgumentError("It must be a whole number.");
  return number;
}
