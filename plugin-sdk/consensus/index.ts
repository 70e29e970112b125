/** Pieces of consensus engines: this server's id, copies of the state, proposals, the errors of the contract. */
export * from "./checked-json.js";
export * from "./copy-folder.js";
export * from "./copy-transfer.js";
export * from "./errors.js";
export * from "./frames.js";
export * from "./node-id.js";
export * from "./proposals.js";
export * from "./restore-store.js";
export * from "./snapshot-store.js";
