export { ColumnPlacer, type ColumnPlacerOptions } from "./placer.js";
