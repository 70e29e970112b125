/** Event sinks: every change of state, in log order, for streams, audit and other systems. */
import { createToken } from "../kernel/token.js";

/** One event, as `GET /v1/event/stream` shows it. */
export interface StateEvent {
  readonly Topic: "Job" | "Evaluation" | "Allocation" | "Deployment" | "Node" | "Operator";
  /** For example `JobRegistered`, `AllocationUpdated`, `PlanResult`. */
  readonly Type: string;
  /** Id of the object. */
  readonly Key: string;
  readonly Namespace: string;
  readonly FilterKeys: readonly string[];
  readonly Index: number;
  readonly Payload: Readonly<Record<string, unknown>>;
}

export interface EventSink {
  readonly name: string;
  /**
   * Takes the events of one index. Called on every server after the entry is applied; must return quickly (queue inside
   * if needed). A throw is logged with the sink's name and does not reach the state machine.
   */
  publish(index: number, events: readonly StateEvent[]): void;
}
export const EventSink = createToken<EventSink>("EventSink", "multiple");
