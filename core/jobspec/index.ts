/** Nomad's job specification and HCL: texts in, jobs out. */
export { type HclConfig, parseHclConfig } from "./hcl/config.js";
export { HclError } from "./hcl/error.js";
