/** Pieces of consensus engines: this server's id, snapshots in files, the errors of the contract. */
export * from "./checked-json.js";
export * from "./errors.js";
export * from "./node-id.js";
export * from "./proposals.js";
export * from "./snapshot-store.js";
