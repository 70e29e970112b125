/** Release of Nomad whose API and job specification this agent follows; what jobs' version constraints are about. */
export const NOMAD_VERSION = "1.1.0";

export function fingerprintAgent(version: string, httpAddress: string): Record<string, string> {
  return {
    "nomad.version": NOMAD_VERSION,
    "drover.version": version,
    "nomad.advertise.address": httpAddress,
  };
}
