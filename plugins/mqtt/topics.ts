/** Names of the topics under `drover/v1/<region>/`; see docs/agent-protocol.md. */

export type TopicKind = "enroll" | "up" | "down" | "status" | "stream";

export interface ParsedTopic {
  readonly kind: TopicKind;
  readonly nodeId: string;
  /** Set on `stream` topics: the id under which the server opened the stream. */
  readonly streamId?: number;
}

const NODE_ID = /^[A-Za-z0-9_-]{1,64}$/;
const REGION = /^[A-Za-z0-9_.-]{1,64}$/;
const STREAM_ID = /^[1-9][0-9]{0,14}$/;
const KINDS: ReadonlySet<string> = new Set(["enroll", "up", "down", "status"]);

/** Whether a node id can be one level of a topic and an MQTT client id. */
export function isNodeId(text: string): boolean {
  return NODE_ID.test(text);
}

/** The topics of one region. */
export class Topics {
  readonly prefix: string;

  /** Throws for a region that can't be one level of a topic. */
  constructor(region: string) {
    if (!REGION.test(region)) {
      throw new Error(
        `region "${region}" can't be part of an MQTT topic: use letters, digits, ".", "_" and "-"`,
      );
    }
    this.prefix = `drover/v1/${region}/`;
  }

  enroll(nodeId: string): string {
    return `${this.prefix}enroll/${nodeId}`;
  }

  up(nodeId: string): string {
    return `${this.prefix}up/${nodeId}`;
  }

  down(nodeId: string): string {
    return `${this.prefix}down/${nodeId}`;
  }

  status(nodeId: string): string {
    return `${this.prefix}status/${nodeId}`;
  }

  stream(nodeId: string, streamId: number): string {
    return `${this.prefix}stream/${nodeId}/${streamId}`;
  }

  /** Filters that a server subscribes to on an external broker. */
  serverFilters(): string[] {
    return ["enroll/+", "up/+", "status/+", "stream/+/+"].map((filter) => this.prefix + filter);
  }

  /** Undefined for a topic that is not one of this region's. */
  parse(topic: string): ParsedTopic | undefined {
    if (!topic.startsWith(this.prefix)) return undefined;
    const [kind, nodeId, streamId, ...rest] = topic.slice(this.prefix.length).split("/");
    if (kind === undefined || nodeId === undefined || rest.length > 0 || !isNodeId(nodeId)) return undefined;
    if (kind === "stream") {
      if (streamId === undefined || !STREAM_ID.test(streamId)) return undefined;
      return { kind, nodeId, streamId: Number(streamId) };
    }
    return streamId === undefined && KINDS.has(kind) ? { kind: kind as TopicKind, nodeId } : undefined;
  }
}
