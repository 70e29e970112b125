/** What handlers work with. On an agent that runs only a client there is no state and there are no endpoints. */
import {
  type AgentInfo,
  type ClientStatus,
  type Consensus,
  HttpError,
  type Logger,
  type Metrics,
  type ServerEndpoints,
  type StateReader,
} from "@drover/plugin-sdk";
import type { WatchLimit } from "./watch-limit.js";

export interface Services {
  readonly agent: AgentInfo;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly state: StateReader | undefined;
  readonly endpoints: ServerEndpoints | undefined;
  readonly consensus: Consensus | undefined;
  readonly client: ClientStatus | undefined;
  readonly watches: WatchLimit;
}

const NO_SERVER =
  "server is not enabled on this agent: send this request to a server's HTTP address, or set server.enabled here";

export function stateOf(services: Services): StateReader {
  if (services.state === undefined) throw new HttpError(500, NO_SERVER);
  return services.state;
}

export function endpointsOf(services: Services): ServerEndpoints {
  if (services.endpoints === undefined) throw new HttpError(500, NO_SERVER);
  return services.endpoints;
}
