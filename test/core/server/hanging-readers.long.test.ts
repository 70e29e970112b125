import { test } from "node:test";
import { endHangingReaders } from "./hanging-readers.js";

test(
  "threads in which a plugin reads the state for ever are ended at their deadline, 400 times, and the process survives",
  {
    timeout: 900_000,
  },
  () => endHangingReaders(100),
);
