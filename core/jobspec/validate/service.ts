import type { ConsulConnect, Service, ServiceCheck, TaskGroup } from "@drover/plugin-sdk";
import { formatDuration, SECOND } from "../duration.js";
import { type ErrorList, quoted } from "./errors.js";

const MIN_CHECK_INTERVAL = SECOND;
const MIN_CHECK_TIMEOUT = SECOND;
const ADDRESS_MODES = ["", "auto", "host", "driver", "alloc"];
const ON_UPDATE = ["require_healthy", "ignore", "ignore_warnings"];

function checkName(name: string, list: ErrorList): void {
  // What the runtime fills in counts as one word.
  const filled = name.replace(/\$\{[^}]*\}/g, "ENV-VAR");
  if (/^(?:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$/i.test(filled)) return;
  list.add(
    `Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes: ${quoted(name)}`,
  );
}

function checkOnUpdate(what: string, value: string, list: ErrorList): void {
  if (ON_UPDATE.includes(value)) return;
  const [a, b, c] = ON_UPDATE.map(quoted);
  list.add(`${what}on_update must be ${a}, ${c}, or ${b}; not ${quoted(value)}`);
}

export function checkService(s: Service, list: ErrorList): void {
  checkName(s.Name, list);
  if (!ADDRESS_MODES.includes(s.AddressMode)) {
    list.add(
      `Service address_mode must be "auto", "host", "driver" or "alloc"; not ${quoted(s.AddressMode)}`,
    );
  }
  checkOnUpdate("Service ", s.OnUpdate, list);
  for (const c of s.Checks ?? []) {
    const needsPort = c.Type === "http" || c.Type === "tcp" || c.Type === "grpc";
    if (s.PortLabel === "" && c.PortLabel === "" && needsPort && !c.Expose) {
      list.add(
        `Check ${c.Name} invalid: check requires a port but neither check nor service ${quoted(s.Name)} have a port`,
      );
      continue;
    }
    list.nest(`Check ${c.Name} invalid`, (inner) => checkCheck(c, inner));
  }
  if (s.Connect !== null) checkConnect(s.Connect, s, list);
}

function checkCheck(c: ServiceCheck, list: ErrorList): void {
  switch (c.Type.toLowerCase()) {
    case "grpc":
    case "tcp":
      break;
    case "http":
      list.check(c.Path === "", "http type must have http path");
      list.check(/^[a-z][a-z0-9+.-]*:/i.test(c.Path), "relative http path required");
      break;
    case "script":
      list.check(c.Command === "", "script type must have a valid script path");
      break;
    default:
      list.add(`invalid type (${quoted(c.Type)}), must be one of "http", "tcp", "grpc" or "script" type`);
  }
  const interval = formatDuration(MIN_CHECK_INTERVAL);
  if (c.Interval === 0) list.add(`missing required value interval. Interval cannot be less than ${interval}`);
  else if (c.Interval < MIN_CHECK_INTERVAL) {
    list.add(`interval (${formatDuration(c.Interval)}) cannot be lower than ${interval}`);
  }
  const timeout = formatDuration(MIN_CHECK_TIMEOUT);
  if (c.Timeout === 0) list.add(`missing required value timeout. Timeout cannot be less than ${timeout}`);
  else if (c.Timeout < MIN_CHECK_TIMEOUT) {
    list.add(`timeout (${formatDuration(c.Timeout)}) is lower than required minimum timeout ${timeout}`);
  }
  if (!["", "passing", "warning", "critical"].includes(c.InitialStatus)) {
    list.add(
      `invalid initial check state (${c.InitialStatus}), must be one of "passing", "warning", "critical" or empty`,
    );
  }
  list.check(!ADDRESS_MODES.includes(c.AddressMode), `invalid address_mode ${quoted(c.AddressMode)}`);
  checkOnUpdate("", c.OnUpdate, list);
  const counted = ["http", "tcp", "grpc"].includes(c.Type);
  if (!counted && c.SuccessBeforePassing > 0) {
    list.add(`success_before_passing not supported for check of type ${quoted(c.Type)}`);
  }
  if (!counted && c.FailuresBeforeCritical > 0) {
    list.add(`failures_before_critical not supported for check of type ${quoted(c.Type)}`);
  }
  if (c.CheckRestart !== null) {
    const { Limit, Grace } = c.CheckRestart;
    list.check(Limit < 0, `limit must be greater than or equal to 0 but found ${Limit}`);
    list.check(Grace < 0, `grace period must be greater than or equal to 0 but found ${Grace}`);
  }
}

function checkConnect(c: ConsulConnect, s: Service, list: ErrorList): void {
  const ways = [c.Native, c.SidecarService !== null, c.Gateway !== null].filter(Boolean).length;
  if (ways !== 1) {
    list.add("Consul Connect must be exclusively native, make use of a sidecar, or represent a Gateway");
  }
  if (c.Native && s.TaskName === "")
    list.add(`Service ${s.Name} is Connect Native and requires setting the task`);
  if (c.Gateway === null) return;
  const kinds = [c.Gateway.Ingress, c.Gateway.Terminating, c.Gateway.Mesh].filter(
    (kind) => kind !== null,
  ).length;
  if (kinds !== 1) list.add("One Consul Gateway Configuration must be set");
  for (const listener of c.Gateway.Ingress?.Listeners ?? []) {
    list.check(listener.Port <= 0, "Consul Ingress Listener requires valid Port");
    if (listener.Protocol !== "tcp" && listener.Protocol !== "http") {
      list.add(
        `Consul Ingress Listener requires protocol of "http" or "tcp", got ${quoted(listener.Protocol)}`,
      );
    }
    const services = listener.Services?.length ?? 0;
    list.check(services === 0, "Consul Ingress Listener requires one or more services");
    if (listener.Protocol === "tcp" && services > 1) {
      list.add('Consul Ingress Listener requires exactly one service for protocol "tcp"');
    }
  }
}

/** Services of a group and of its tasks together: names, tasks they refer to, modes. */
export function checkGroupServices(group: TaskGroup, list: ErrorList): void {
  const tasks = new Set(group.Tasks.map((task) => task.Name));
  const known = new Set<string>();
  const unique = (s: Service) => {
    const key = `${s.Name}\u0000${s.PortLabel}`;
    list.check(known.has(key), `Service ${s.Name} is duplicate`);
    known.add(key);
  };
  for (const task of group.Tasks) {
    for (const s of task.Services ?? []) {
      unique(s);
      for (const c of s.Checks ?? []) {
        if (c.TaskName !== "") {
          list.add(`Check ${c.Name} is invalid: only task group service checks can be assigned tasks`);
        }
      }
    }
  }
  group.Services?.forEach((s, i) => {
    list.nest(`Service[${i}] ${s.Name} validation failed`, (inner) => checkService(s, inner));
    unique(s);
    if (s.AddressMode === "driver") {
      list.add(
        `service ${quoted(s.Name)} cannot use address_mode="driver", only services defined in a "task" block can use this mode`,
      );
    }
    if (s.TaskName !== "" && !tasks.has(s.TaskName)) {
      list.add(`Service ${s.Name} invalid: refers to non-existent task ${s.TaskName}`);
    }
    for (const c of s.Checks ?? []) checkTaskOf(c, tasks, list);
  });
}

function checkTaskOf(c: ServiceCheck, tasks: ReadonlySet<string>, list: ErrorList): void {
  if (c.TaskName === "") return;
  if (c.Type !== "script" && c.Type !== "grpc") {
    list.add(`Check ${c.Name} invalid: only script and gRPC checks should have tasks`);
  }
  if (!tasks.has(c.TaskName)) list.add(`Check ${c.Name} invalid: refers to non-existent task ${c.TaskName}`);
}
