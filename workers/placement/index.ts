export { FeasibleRowsCache } from "./feasible-rows.js";
export { ColumnPlacer, type ColumnPlacerOptions } from "./placer.js";
