import type { DriverInfo, TaskDriver } from "@drover/plugin-sdk";

export interface DriverFacts {
  readonly attributes: Record<string, string>;
  readonly drivers: Record<string, DriverInfo>;
}

/** Asks every driver; `before` keeps the time of what did not change. */
export async function fingerprintDrivers(
  drivers: readonly TaskDriver[],
  before: Readonly<Record<string, DriverInfo>>,
): Promise<DriverFacts> {
  const attributes: Record<string, string> = {};
  const found: Record<string, DriverInfo> = {};
  for (const driver of drivers) {
    const info = await ask(driver);
    const { UpdateTime, ...last } = before[driver.name] ?? { UpdateTime: "" };
    const same = UpdateTime !== "" && JSON.stringify(sorted(last)) === JSON.stringify(sorted(info));
    found[driver.name] = { ...info, UpdateTime: same ? UpdateTime : new Date().toISOString() };
    if (!info.Detected || !info.Healthy) continue;
    Object.assign(attributes, info.Attributes ?? {});
    attributes[`driver.${driver.name}`] = "1";
  }
  return { attributes, drivers: found };
}

async function ask(driver: TaskDriver): Promise<Omit<DriverInfo, "UpdateTime">> {
  try {
    return await driver.fingerprint();
  } catch (error) {
    const HealthDescription = `fingerprint failed: ${error instanceof Error ? error.message : String(error)}`;
    return { Attributes: null, Detected: false, HealthDescription, Healthy: false };
  }
}

function sorted(value: object): [string, unknown][] {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}
