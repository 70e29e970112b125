import { EndpointError, type StateReader } from "@drover/plugin-sdk";

/** Throws while operators have registration, dispatch and scaling of jobs switched off. */
export function checkRegistrationAllowed(state: StateReader): void {
  using snapshot = state.snapshot();
  if (!snapshot.schedulerConfiguration().RejectJobRegistration) return;
  throw new EndpointError(
    403,
    "Permission denied: job registration, dispatch, and scale are disabled by the scheduler configuration (RejectJobRegistration)",
  );
}
