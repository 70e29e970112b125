import { type AutopilotSettings, DEFAULT_AUTOPILOT_SETTINGS, EndpointError } from "@drover/plugin-sdk";
import { z } from "zod";
import { formatDuration, parseDuration } from "../../jobspec/duration.js";

const flag = z.boolean().default(false);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0);

/** A Go duration above zero; left out it has its default, because none would make every server unhealthy. */
const duration = (byDefault: string) =>
  z
    .string()
    .default(byDefault)
    .transform((text, context): string => {
      const nanoseconds = parseDuration(text === "" ? byDefault : text);
      if (nanoseconds !== undefined && nanoseconds > 0) return formatDuration(nanoseconds);
      context.addIssue({
        code: "custom",
        message: `"${text}" is not a duration above zero: write for example "${byDefault}"`,
      });
      return z.NEVER;
    });

const Body = z.object({
  CleanupDeadServers: flag,
  DisableUpgradeMigration: flag,
  EnableCustomUpgrades: flag,
  EnableRedundancyZones: flag,
  LastContactThreshold: duration(DEFAULT_AUTOPILOT_SETTINGS.LastContactThreshold),
  MaxTrailingLogs: count,
  MinQuorum: count,
  ServerStabilizationTime: duration(DEFAULT_AUTOPILOT_SETTINGS.ServerStabilizationTime),
});

/** Settings as the API takes them; throws `EndpointError` naming the key. */
export function autopilotSettings(body: unknown): AutopilotSettings {
  const parsed = Body.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new EndpointError(
    400,
    `autopilot configuration: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
  );
}

/** Milliseconds of a duration that was checked when it was set. */
export function milliseconds(duration: string): number {
  return (parseDuration(duration) ?? 0) / 1e6;
}
