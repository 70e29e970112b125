import { test } from "node:test";
import { endHangingReaders } from "./hanging-readers.js";

test(
  "threads in which a plugin reads the state for ever are ended at their deadline, and the process survives",
  {
    timeout: 120_000,
  },
  () => endHangingReaders(4),
);
