/** What the tokens resolve to on an agent that doesn't run that side: every use is an error that says why. */
import type { AgentLink, AgentTransport } from "@drover/plugin-sdk";

function refuse(what: string, block: string): never {
  throw new Error(`${what} is not available: this agent runs without ${block} { enabled = true }`);
}

const noServer = (): never => refuse("the agent transport", "server");
const noClient = (): never => refuse("the link to the servers", "client");

export const disabledTransport: AgentTransport = {
  shared: false,
  serve: async () => noServer(),
  unserve: async () => noServer(),
  clusterKeyPair: noServer,
  createClusterKey: async () => noServer(),
  adoptClusterKey: async () => noServer(),
  isConnected: noServer,
  call: async () => noServer(),
  stream: noServer,
  brokerUrls: noServer,
  stats: noServer,
};

export const disabledLink: AgentLink = {
  open: async () => noClient(),
  call: async () => noClient(),
  /** A client that never opened it may close it. */
  close: async () => undefined,
};
