import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RemoteError } from "@drover/plugin-sdk";
import { makeAllocation, shellTask, until } from "./fixtures.js";
import { eventsOf, eventTypes, startAgent } from "./harness.js";

test("a batch task runs to its end and reports as recorded", async () => {
  const { link, reported, dataDir } = await startAgent();
  const alloc = makeAllocation([shellTask("work", "echo working; exit 0")], { type: "batch" });
  await link.push(alloc);
  const update = await reported(alloc.ID, "complete");
  assert.equal(update.ClientDescription, "All tasks have completed");
  assert.deepEqual(update.NetworkStatus, { Address: "", DNS: null, InterfaceName: "" });
  const state = update.TaskStates.work!;
  assert.deepEqual(
    { State: state.State, Failed: state.Failed, Restarts: state.Restarts, LastRestart: state.LastRestart },
    { State: "dead", Failed: false, Restarts: 0, LastRestart: null },
  );
  assert.ok(state.StartedAt !== null && state.FinishedAt !== null);
  assert.deepEqual(
    eventsOf(update, "work").map(({ Type, DisplayMessage, Details }) => ({ Type, DisplayMessage, Details })),
    [
      { Type: "Received", DisplayMessage: "Task received by client", Details: {} },
      {
        Type: "Task Setup",
        DisplayMessage: "Building Task Directory",
        Details: { message: "Building Task Directory" },
      },
      { Type: "Started", DisplayMessage: "Task started by client", Details: {} },
      {
        Type: "Terminated",
        DisplayMessage: "Exit Code: 0",
        Details: { exit_code: "0", signal: "0", oom_killed: "false" },
      },
    ],
  );
  const folder = join(dataDir, "alloc", alloc.ID);
  assert.equal(readFileSync(join(folder, "alloc/logs/work.stdout.0"), "utf8"), "working\n");
  assert.equal(statSync(join(folder, "work/secrets")).mode & 0o7777, 0o700);
  assert.equal(statSync(join(folder, "work/local")).mode & 0o7777, 0o777);
  assert.equal(statSync(join(folder, "work/tmp")).mode & 0o7777, 0o1777);
  for (const name of ["data", "logs", "tmp"]) assert.ok(existsSync(join(folder, "alloc", name)));
});

test("the environment is the recorded one", async () => {
  const { link, reported, dataDir } = await startAgent();
  const task = shellTask("server", "env | grep -E '^(NOMAD_|GREETING)' | sort", { Env: { GREETING: "hi" } });
  const alloc = makeAllocation([task], { type: "batch", job: { Meta: { owner: "team-a" } } });
  alloc.AllocatedResources.Shared.Ports = [{ HostIP: "127.0.0.1", Label: "http", To: 0, Value: 29544 }];
  await link.push(alloc);
  await reported(alloc.ID, "complete");
  const folder = join(dataDir, "alloc", alloc.ID);
  assert.deepEqual(readFileSync(join(folder, "alloc/logs/server.stdout.0"), "utf8").trim().split("\n"), [
    "GREETING=hi",
    "NOMAD_ADDR_http=127.0.0.1:29544",
    `NOMAD_ALLOC_DIR=${folder}/alloc`,
    `NOMAD_ALLOC_ID=${alloc.ID}`,
    "NOMAD_ALLOC_INDEX=0",
    "NOMAD_ALLOC_NAME=web.app[0]",
    "NOMAD_ALLOC_PORT_http=29544",
    "NOMAD_CPU_LIMIT=100",
    "NOMAD_DC=dc1",
    "NOMAD_GROUP_NAME=app",
    "NOMAD_HOST_ADDR_http=127.0.0.1:29544",
    "NOMAD_HOST_IP_http=127.0.0.1",
    "NOMAD_HOST_PORT_http=29544",
    "NOMAD_IP_http=127.0.0.1",
    "NOMAD_JOB_ID=web",
    "NOMAD_JOB_NAME=web",
    "NOMAD_MEMORY_LIMIT=64",
    "NOMAD_META_OWNER=team-a",
    "NOMAD_META_owner=team-a",
    "NOMAD_NAMESPACE=default",
    "NOMAD_PORT_http=29544",
    "NOMAD_REGION=global",
    `NOMAD_SECRETS_DIR=${folder}/server/secrets`,
    `NOMAD_TASK_DIR=${folder}/server/local`,
    "NOMAD_TASK_NAME=server",
  ]);
});

test("a stopped task gets its signal, then is killed, with the recorded events", async () => {
  const { link, reported } = await startAgent();
  const task = shellTask("server", "trap '' INT; echo up; while :; do sleep 0.05; done", {
    KillTimeout: 200e6,
  });
  const alloc = makeAllocation([task]);
  await link.push(alloc);
  await reported(alloc.ID, "running");
  await link.stop(alloc.ID);
  const update = await reported(alloc.ID, "complete");
  assert.deepEqual(eventTypes(update, "server"), [
    "Received",
    "Task Setup",
    "Started",
    "Killing",
    "Terminated",
    "Killed",
  ]);
  const [killing, terminated, killed] = eventsOf(update, "server").slice(3);
  assert.equal(killing!.DisplayMessage, "Sent interrupt. Waiting 200ms before force killing");
  assert.deepEqual(killing!.Details, { kill_timeout: "200ms" });
  assert.equal(killing!.KillTimeout, 200e6);
  assert.equal(terminated!.DisplayMessage, "Exit Code: 137, Signal: 9");
  assert.equal(terminated!.ExitCode, 137);
  assert.equal(killed!.DisplayMessage, "Task successfully killed");
});

test("a failing task is restarted as its policy says, and then fails the allocation", async () => {
  const { link, reported } = await startAgent();
  const RestartPolicy = { Attempts: 2, Delay: 1e6, Interval: 600e9, Mode: "fail" as const };
  const alloc = makeAllocation([
    shellTask("server", "exit 3", { RestartPolicy }),
    shellTask("other", "exec sleep 60"),
  ]);
  await link.push(alloc);
  await reported(alloc.ID, "failed");
  await until("both tasks dead", () =>
    Object.values(link.last(alloc.ID)!.TaskStates).every((state) => state.State === "dead"),
  );
  const update = link.last(alloc.ID)!;
  assert.equal(update.ClientDescription, "Failed tasks");
  assert.equal(update.TaskStates.server!.Restarts, 2);
  assert.equal(update.TaskStates.server!.Failed, true);
  const last = eventsOf(update, "server").at(-1)!;
  assert.equal(last.Type, "Not Restarting");
  assert.equal(last.DisplayMessage, 'Exceeded allowed attempts 2 in interval 10m0s and mode is "fail"');
  assert.ok(eventTypes(update, "other").includes("Sibling Task Failed"));
  assert.equal(update.TaskStates.other!.Failed, false);
  assert.ok(eventsOf(update, "server").length <= 10);
});

test("tasks start in the order of their lifecycle, and poststop runs at the end", async () => {
  const { link, reported, dataDir } = await startAgent();
  const log = (word: string) => `echo ${word} >> $NOMAD_ALLOC_DIR/data/order`;
  const hook = (Hook: string, Sidecar = false) => ({ Lifecycle: { Hook, Sidecar } });
  const alloc = makeAllocation(
    [
      shellTask("last", log("poststop"), hook("poststop")),
      shellTask("main", `${log("main")}; while [ ! -e $NOMAD_ALLOC_DIR/data/after ]; do sleep 0.02; done`),
      shellTask("after", `${log("poststart")}; touch $NOMAD_ALLOC_DIR/data/after`, hook("poststart")),
      shellTask("before", log("prestart"), hook("prestart")),
      shellTask("beside", "exec sleep 600", hook("prestart", true)),
    ],
    { type: "batch" },
  );
  await link.push(alloc);
  const update = await reported(alloc.ID, "complete");
  const order = readFileSync(join(dataDir, "alloc", alloc.ID, "alloc/data/order"), "utf8")
    .trim()
    .split("\n");
  assert.deepEqual(order, ["prestart", "main", "poststart", "poststop"]);
  assert.ok(eventTypes(update, "beside").includes("Main Tasks Dead"));
});

test("the end of the leader ends the others", async () => {
  const { link, reported } = await startAgent();
  const alloc = makeAllocation(
    [shellTask("lead", "exit 0", { Leader: true }), shellTask("follow", "exec sleep 600")],
    { type: "batch" },
  );
  await link.push(alloc);
  const update = await reported(alloc.ID, "complete");
  assert.ok(eventTypes(update, "follow").includes("Leader Task Dead"));
});

test("what can't be run says so in the task's events", async () => {
  const { link, reported } = await startAgent();
  const failing = async (overrides: Parameters<typeof shellTask>[2]) => {
    const alloc = makeAllocation([shellTask("server", "true", overrides)], { type: "batch" });
    await link.push(alloc);
    const update = await reported(alloc.ID, "failed");
    assert.equal(eventsOf(update, "server").at(-1)!.DisplayMessage, "Error was unrecoverable");
    return eventsOf(update, "server").at(-2)!;
  };
  const missing = await failing({ Config: { command: "no-such-program" } });
  assert.equal(missing.Type, "Driver Failure");
  assert.match(missing.DisplayMessage, /command "no-such-program" not found/);
  const wrong = await failing({ Config: { comand: "x" } });
  assert.equal(wrong.Type, "Failed Validation");
  assert.match(wrong.DisplayMessage, /missing "command".*unknown key "comand", did you mean "command"\?/);
  const driver = await failing({ Driver: "docker" });
  assert.match(driver.DisplayMessage, /this node has no driver "docker"/);
  const artifact = await failing({
    Artifacts: [
      {
        GetterHeaders: null,
        GetterMode: "any",
        GetterOptions: null,
        GetterSource: "https://example.com/x.tgz",
        RelativeDest: "local/",
      },
    ],
  });
  assert.equal(artifact.Type, "Failed Artifact Download");
  const template = {
    ChangeMode: "restart" as const,
    ChangeSignal: "",
    DestPath: "local/info.txt",
    EmbeddedTmpl: '{{ key "service/x" }}',
    Envvars: false,
    LeftDelim: "{{",
    Perms: "0644",
    RightDelim: "}}",
    SourcePath: "",
    Splay: 0,
    VaultGrace: 0,
  };
  const rendered = await failing({ Templates: [template] });
  assert.equal(rendered.Type, "Setup Failure");
  assert.match(rendered.DisplayMessage, /local\/info\.txt: can't render \{\{ key "service\/x" \}\}/);
  const escaping = await failing({ Templates: [{ ...template, EmbeddedTmpl: "x", DestPath: "../../../x" }] });
  assert.match(escaping.DisplayMessage, /Path escapes the alloc directory/);
});

test("templates, dispatch payload and interpolation reach the task", async () => {
  const { link, reported, dataDir } = await startAgent({ client: { meta: { file: "input.txt" } } });
  const task = shellTask("work", "", {
    Config: {
      command: "/bin/cat",
      args: ["local/info.txt", "local/${meta.file}", "${NOMAD_TASK_DIR}/env.txt"],
    },
    Env: { WHERE: "${node.datacenter}-${attr.kernel.name}-${not.known}" },
    DispatchPayload: { File: "input.txt" },
    Templates: [
      ["local/info.txt", 'alloc {{ env "NOMAD_ALLOC_ID" }}\n'],
      ["local/env.txt", '{{- env "WHERE" }}\n'],
    ].map(([DestPath, EmbeddedTmpl]) => ({
      ChangeMode: "restart" as const,
      ChangeSignal: "",
      DestPath: DestPath!,
      EmbeddedTmpl: EmbeddedTmpl!,
      Envvars: false,
      LeftDelim: "{{",
      Perms: "0644",
      RightDelim: "}}",
      SourcePath: "",
      Splay: 0,
      VaultGrace: 0,
    })),
  });
  const alloc = makeAllocation([task], {
    type: "batch",
    job: { Payload: Buffer.from("payload\n").toString("base64") },
  });
  await link.push(alloc);
  await reported(alloc.ID, "complete");
  assert.equal(
    readFileSync(join(dataDir, "alloc", alloc.ID, "alloc/logs/work.stdout.0"), "utf8"),
    `alloc ${alloc.ID}\npayload\ndc1-linux-${"${not.known}"}\n`,
  );
});

test("an operator's restart and signal reach the task", async () => {
  const { link, reported } = await startAgent();
  const script = "trap 'echo usr1' USR1; trap 'exit 0' INT; echo up; while :; do sleep 0.02; done";
  const alloc = makeAllocation([shellTask("server", script)]);
  await link.push(alloc);
  await reported(alloc.ID, "running");
  await assert.rejects(
    link.agent.handle("allocation.signal", { allocId: alloc.ID, task: "nope", signal: "SIGUSR1" }),
    new RemoteError("internal", "Task not found"),
  );
  await link.agent.handle("allocation.signal", { allocId: alloc.ID, task: "server", signal: "SIGUSR1" });
  assert.deepEqual(await link.agent.handle("allocation.restart", { allocId: alloc.ID, task: "server" }), {
    Index: 0,
  });
  await until("restarted", () => link.last(alloc.ID)?.TaskStates.server?.Restarts === 1);
  const update = link.last(alloc.ID)!;
  const types = eventTypes(update, "server");
  assert.deepEqual(types.slice(3, 7), ["Signaling", "Restart Signaled", "Terminated", "Restarting"]);
  const restarting = eventsOf(update, "server").find((event) => event.Type === "Restarting")!;
  assert.equal(restarting.DisplayMessage, "Task restarting in 0s");
  assert.deepEqual(restarting.Details, { start_delay: "0", restart_reason: "" });
});

test("a service outside of a deployment is judged by its migrate block; with manual health nothing is judged", async () => {
  const { link, reported } = await startAgent();
  const Migrate = {
    HealthCheck: "task_states" as const,
    HealthyDeadline: 60e9,
    MaxParallel: 1,
    MinHealthyTime: 50e6,
  };
  const Update = {
    AutoPromote: false,
    AutoRevert: false,
    Canary: 0,
    HealthCheck: "manual" as const,
    HealthyDeadline: 60e9,
    MaxParallel: 1,
    MinHealthyTime: 1e6,
    ProgressDeadline: 60e9,
    Stagger: 0,
  };
  const run = () => [shellTask("server", "exec sleep 600")];
  const manual = makeAllocation(run(), {
    group: { Update, Migrate },
    allocation: { DeploymentID: "2b36078f-f65f-45c8-80a0-f6496aa6e829" },
  });
  await link.push(manual);
  await reported(manual.ID, "running");
  const moved = makeAllocation(run(), { group: { Update, Migrate } });
  await link.push(moved);
  await until("a verdict on the moved one", () => link.last(moved.ID)?.DeploymentStatus?.Healthy === true);
  assert.equal(link.last(manual.ID)?.DeploymentStatus ?? null, null);
});

test("what the servers no longer know is stopped and removed", async () => {
  const { link, reported, dataDir } = await startAgent();
  const alloc = makeAllocation([shellTask("server", "exec sleep 600")]);
  await link.push(alloc);
  await reported(alloc.ID, "running");
  await link.remove(alloc.ID);
  await until("folder gone", () => !existsSync(join(dataDir, "alloc", alloc.ID)));
  await until(
    "state gone",
    () => !existsSync(join(dataDir, "client/allocations", `${alloc.ID}.assigned.json`)),
  );
});

test("ended allocations beyond gc_max_allocs leave the disk, and don't run again", async () => {
  const { link, reported, dataDir } = await startAgent({ client: { gc_max_allocs: 1, gc_interval: 1000 } });
  const first = makeAllocation([shellTask("work", "echo x")], { type: "batch" });
  await link.push(first);
  await reported(first.ID, "complete");
  const second = makeAllocation([shellTask("work", "echo x")], { type: "batch" });
  await link.push(second);
  await reported(second.ID, "complete");
  await until("the older one gone", () => !existsSync(join(dataDir, "alloc", first.ID)));
  assert.ok(existsSync(join(dataDir, "alloc", second.ID)));
  await link.push({ ...first, AllocModifyIndex: 11, ClientStatus: "complete" });
  assert.ok(!existsSync(join(dataDir, "alloc", first.ID)));
});

test("a folder that can't be made is an event, and the others go on", async () => {
  const { link, reported, dataDir } = await startAgent();
  const blocked = makeAllocation([shellTask("server", "true")], { type: "batch" });
  mkdirSync(join(dataDir, "alloc", blocked.ID), { recursive: true });
  writeFileSync(join(dataDir, "alloc", blocked.ID, "server"), "in the way");
  const fine = makeAllocation([shellTask("server", "true")], { type: "batch" });
  await link.push(blocked, fine);
  const update = await reported(blocked.ID, "failed");
  assert.ok(
    eventsOf(update, "server").some((event) => /task_dir: .*EEXIST|ENOTDIR/.test(event.DisplayMessage)),
  );
  await reported(fine.ID, "complete");
});
