/** ACLs (https://developer.hashicorp.com/nomad/api-docs/acl). */

/** `management` may do everything; `client` what its policies allow. */
export const ACLTokenType = { Client: "client", Management: "management" } as const;
export type ACLTokenType = (typeof ACLTokenType)[keyof typeof ACLTokenType];

/** A token. Lists leave SecretID out. */
export interface ACLToken {
  /** Public id. */
  AccessorID: string;
  CreateIndex: number;
  /** RFC 3339. */
  CreateTime: string;
  /** Replicated to every region. */
  Global: boolean;
  /** Base64 of a hash over name, type, policies and Global. */
  Hash: string;
  ModifyIndex: number;
  Name: string;
  /** Names; null on management tokens. */
  Policies: string[] | null;
  /** The secret clients send as X-Nomad-Token. */
  SecretID: string;
  Type: ACLTokenType;
}

/** A row of GET /v1/acl/tokens. */
export type ACLTokenListStub = Omit<ACLToken, "SecretID">;

/** Rules for namespaces of a name or glob. */
export interface ACLNamespaceRule {
  Capabilities: string[] | null;
  Name: string;
  Policy: string;
}

/** Rules for host volumes of a name or glob. */
export interface ACLHostVolumeRule {
  Capabilities: string[] | null;
  Name: string;
  Policy: string;
}

/** A coarse rule: "read", "write", "deny" (plugins: "list" too). */
export interface ACLCoarseRule {
  Policy: string;
}

/** A policy's rules, parsed. */
export interface ACLRules {
  Agent: ACLCoarseRule | null;
  HostVolumes: ACLHostVolumeRule[] | null;
  Namespaces: ACLNamespaceRule[] | null;
  Node: ACLCoarseRule | null;
  Operator: ACLCoarseRule | null;
  Plugin: ACLCoarseRule | null;
  Quota: ACLCoarseRule | null;
  /** The source text. */
  Raw: string;
}

/** A policy. */
export interface ACLPolicy {
  CreateIndex: number;
  Description: string;
  Hash: string;
  ModifyIndex: number;
  /** 1 to 128 of letters, digits and "-". */
  Name: string;
  /** HCL. */
  Rules: string;
  RulesJSON: ACLRules | null;
}

/** A row of GET /v1/acl/policies. */
export type ACLPolicyListStub = Omit<ACLPolicy, "Rules" | "RulesJSON">;

/** A secret that can be exchanged once for the token it stands for. */
export interface OneTimeToken {
  AccessorID: string;
  CreateIndex: number;
  /** RFC 3339; ten minutes after its creation. */
  ExpiresAt: string;
  ModifyIndex: number;
  OneTimeSecretID: string;
}
