/** The log of a thread: JSON lines on the process's standard error, as the main thread's are not reachable from here. */
import type { Logger } from "@drover/plugin-sdk";
import { destination, type Logger as Pino, pino } from "pino";

export function threadLogger(): Logger {
  return wrap(pino({ base: { component: "scheduler" }, level: "warn" }, destination({ fd: 2, sync: true })));
}

function wrap(log: Pino): Logger {
  return {
    trace: (fields, message) => log.trace(fields, message),
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => log.error(fields, message),
    child: (fields) => wrap(log.child(fields)),
  };
}
