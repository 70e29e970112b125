import { existsSync, readFileSync } from "node:fs";
import { arch, availableParallelism, cpus } from "node:os";

export interface CpuFacts {
  readonly attributes: Record<string, string>;
  readonly cores: number;
  /** MHz of one core. */
  readonly frequency: number;
  /** MHz over all cores, or what the operator says. */
  readonly totalCompute: number;
  /** False where the machine does not tell its frequency and the operator did not say `cpu_total_compute`. */
  readonly measured: boolean;
}

/** Go's names of architectures, which jobs' constraints use. */
const GO_ARCH: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  ppc64: "ppc64le",
  mipsel: "mipsle",
};
/** MHz assumed for a core that tells nothing. */
const ASSUMED_FREQUENCY = 1000;

/** `totalCompute` above 0 overrides what is measured, MHz. */
export function fingerprintCpu(totalCompute: number): CpuFacts {
  const list = cpus();
  const cores = list.length > 0 ? list.length : availableParallelism();
  const told = frequencyOf(list[0]?.speed ?? 0);
  const frequency = told > 0 ? told : ASSUMED_FREQUENCY;
  const total = totalCompute > 0 ? totalCompute : frequency * cores;
  return {
    cores,
    frequency,
    totalCompute: total,
    measured: told > 0 || totalCompute > 0,
    attributes: {
      "cpu.arch": GO_ARCH[arch()] ?? arch(),
      "cpu.numcores": String(cores),
      "cpu.frequency": String(frequency),
      "cpu.totalcompute": String(total),
      ...(list[0] === undefined ? {} : { "cpu.modelname": list[0].model.trim() }),
    },
  };
}

/** The core's highest frequency where the kernel tells it (in kHz), else the present one. */
function frequencyOf(present: number): number {
  const path = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq";
  if (!existsSync(path)) return present;
  return Math.floor(Number(readFileSync(path, "utf8")) / 1000) || present;
}
