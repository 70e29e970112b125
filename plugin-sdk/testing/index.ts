export * from "./task-driver.js";
