import "reflect-metadata";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Logger, type PluginContext, resolveAll, resolveOptional } from "@drover/plugin-sdk";
import { inject, injectable } from "tsyringe";
import { z } from "zod";
import type { PluginErrors } from "../../../core/kernel/errors.js";
import { freshToken, kernelOf, newKernel, plugin } from "./fixtures.js";

/** A promise that a test settles. */
function gate(): { promise: Promise<void>; open: () => void } {
  let open!: () => void;
  const promise = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}

test("what a plugin provides reaches others as one instance, also where the author chose no lifecycle", async () => {
  interface Counter {
    readonly log: Logger;
  }
  const token = freshToken<Counter>();
  @injectable()
  class CounterImpl implements Counter {
    constructor(@inject(Logger) readonly log: Logger) {}
  }
  const seen: unknown[] = [];
  const provider = plugin({
    name: "provider",
    provides: [token],
    register: (container) => void container.register(token, { useClass: CounterImpl }),
    start: ({ container }) => void seen.push(container.resolve(token)),
  });
  const users = ["a", "b"].map((name) =>
    plugin({ name, requires: [token], start: ({ container }) => void seen.push(container.resolve(token)) }),
  );
  const kernel = kernelOf(...users, provider);
  await kernel.start();
  assert.equal(seen.length, 3);
  assert.equal(new Set([...seen, kernel.resolve(token)]).size, 1);
  await kernel.stop();
});

test("what a plugin registers beside its declared tokens stays in its own container", async () => {
  const hidden = freshToken<string>();
  let seen: unknown = "nothing yet";
  const kernel = kernelOf(
    plugin({ name: "owner", register: (container) => void container.registerInstance(hidden, "mine") }),
    plugin({
      name: "other",
      start({ container }) {
        seen = resolveOptional(container, hidden);
      },
    }),
  );
  await kernel.start();
  assert.equal(seen, undefined);
  await kernel.stop();
});

test("a multi-valued token collects from all plugins in start order, the collector's own included", async () => {
  const token = freshToken<string>("multiple");
  let seen: string[] = [];
  const kernel = kernelOf(
    plugin({
      name: "collector",
      provides: [token],
      requires: [token],
      start({ container }) {
        seen = resolveAll(container, token);
      },
    }),
    plugin({
      name: "two",
      provides: [token],
      register(container) {
        container.register(token, { useValue: "two-a" });
        container.register(token, { useValue: "two-b" });
      },
    }),
  );
  await kernel.start();
  assert.deepEqual(seen, ["two-a", "two-b", "collector"]);
  await kernel.stop();
});

test("resolveAll gives an empty list for a multi-valued token that nobody provides", async () => {
  let seen: unknown;
  const token = freshToken("multiple");
  const kernel = kernelOf(
    plugin({
      name: "a",
      start({ container }) {
        seen = resolveAll(container, token);
      },
    }),
  );
  await kernel.start();
  assert.deepEqual(seen, []);
  await kernel.stop();
});

test("a plugin that does not bind what it declares is an error that names both", async () => {
  const kernel = kernelOf(plugin({ name: "liar", provides: [freshToken()], register: () => undefined }));
  await assert.rejects(kernel.start(), /plugin "liar" declares that it provides Test\d+ but did not bind it/);
});

test("a plugin that throws in register or start is named with its cause, and what started is stopped", async () => {
  const stopped: string[] = [];
  const first = plugin({ name: "first", stop: () => void stopped.push("first") });
  const broken = plugin({
    name: "broken",
    start() {
      throw new Error("no disk", { cause: new Error("ENOSPC") });
    },
    stop: () => void stopped.push("broken"),
  });
  const never = plugin({
    name: "never",
    start: () => assert.fail("must not start"),
    stop: () => assert.fail(),
  });
  await assert.rejects(kernelOf(first, broken, never).start(), {
    name: "PluginError",
    message: 'plugin "broken" failed in start: no disk: ENOSPC',
  });
  assert.deepEqual(stopped, ["broken", "first"]);

  const unregistered = plugin({
    name: "broken",
    register() {
      throw new Error("oops");
    },
  });
  await assert.rejects(kernelOf(unregistered).start(), /plugin "broken" failed in register: oops/);
});

test("a start that passes its deadline is told through its signal, and stopped", async () => {
  let context: PluginContext<unknown> | undefined;
  let stopped = false;
  const slow = plugin({
    name: "slow",
    startTimeout: 20,
    start(given) {
      context = given;
      return gate().promise;
    },
    stop() {
      stopped = true;
    },
  });
  await assert.rejects(kernelOf(slow).start(), /plugin "slow" failed in start: start took longer than 20 ms/);
  assert.equal(context?.signal.aborted, true);
  assert.equal(stopped, true);
});

test("stopping goes on past plugins that fail or hang, and reports each", async () => {
  const stopped: string[] = [];
  const kernel = kernelOf(
    plugin({ name: "last", stop: () => void stopped.push("last") }),
    plugin({ name: "hangs", stopTimeout: 20, stop: () => gate().promise }),
    plugin({ name: "throws", stop: () => Promise.reject(new Error("stuck")) }),
  );
  await kernel.start();
  const error = (await kernel.stop().catch((thrown: unknown) => thrown)) as PluginErrors;
  assert.deepEqual(
    error.errors.map(({ plugin: name }) => name),
    ["throws", "hangs"],
  );
  assert.match(error.message, /stuck\n.*took longer than 20 ms/);
  assert.deepEqual(stopped, ["last"]);
});

test("a running plugin that reports fatal reaches the host once, by name", async () => {
  const reports: Error[] = [];
  let context: PluginContext<unknown> | undefined;
  const kernel = newKernel((error) => reports.push(error));
  kernel.add(
    plugin({
      name: "listener",
      start(given) {
        context = given;
      },
    }),
  );
  await kernel.start();
  context!.fatal(new Error("socket died"));
  context!.fatal(new Error("and again"));
  assert.deepEqual(
    reports.map(({ message }) => message),
    ['plugin "listener" can\'t go on: socket died'],
  );
  await kernel.stop();
});

test("fatal and stop end a start that hangs", async () => {
  const hanging = (end: (context: PluginContext<unknown>) => void) =>
    plugin({
      name: "hangs",
      start(context) {
        setImmediate(() => end(context));
        return gate().promise;
      },
    });
  await assert.rejects(
    kernelOf(hanging((context) => context.fatal(new Error("gone")))).start(),
    /can't go on: gone/,
  );
  const kernel = kernelOf(
    hanging(() => void kernel.stop()),
    plugin({ name: "later", start: () => assert.fail() }),
  );
  await assert.rejects(kernel.start(), /shutting down/);
});

test("a plugin's settings are checked by its schema: all problems, where they stand, the nearest known key", () => {
  const schema = z.strictObject({
    listen: z.string(),
    limits: z.strictObject({ rate: z.number() }).optional(),
  });
  const picky = plugin({ name: "picky", config: schema });
  const locate = (path: readonly (string | number)[]) => (path[0] === "listne" ? "agent.hcl:7" : undefined);
  assert.throws(
    () => newKernel().add(picky, { listne: "x", limits: [{ rate: "fast" }] }, locate),
    (error: PluginErrors) => {
      assert.deepEqual(error.message.split("\n").sort(), [
        'agent.hcl:7: plugin "picky" config: listne: unknown key; did you mean "listen"?',
        'plugin "picky" config: limits.rate: expected number, received string',
        'plugin "picky" config: listen: expected string, received undefined',
      ]);
      return true;
    },
  );
});

test("reload gives changed settings to the plugins that take them and names those that need a restart", async () => {
  const config = z.strictObject({ level: z.number().default(1) });
  const got: unknown[] = [];
  const kernel = kernelOf(
    plugin({ name: "live", config, reload: (next) => void got.push(next) }),
    plugin({ name: "fixed", config }),
    plugin({ name: "same", config, reload: () => assert.fail("nothing changed") }),
  );
  await kernel.start();
  const change = { config: { level: 2 } };
  const result = await kernel.reload(
    new Map<string, { config: unknown }>([
      ["live", change],
      ["fixed", change],
      ["same", { config: {} }],
    ]),
  );
  assert.deepEqual(result, { reloaded: ["live"], needRestart: ["fixed"] });
  assert.deepEqual(got, [{ level: 2 }]);
  await assert.rejects(
    kernel.reload(
      new Map([
        ["live", { config: { level: 3 } }],
        ["fixed", { config: { levle: 1 } }],
      ]),
    ),
    /levle: unknown key; did you mean "level"\?/,
  );
  assert.equal(got.length, 1, "nothing is applied where a block is wrong");
  await kernel.stop();
});

test("a reload that one plugin fails gives those before it their former settings back", async () => {
  const config = z.strictObject({ level: z.number().default(1) });
  const got: unknown[] = [];
  const kernel = kernelOf(
    plugin({ name: "first", config, reload: (next) => void got.push(next) }),
    plugin({
      name: "second",
      config,
      reload: () => {
        throw new Error("no such device");
      },
    }),
  );
  await kernel.start();
  const change = { config: { level: 2 } };
  const changes = new Map([
    ["first", change],
    ["second", change],
  ]);
  await assert.rejects(kernel.reload(changes), /plugin "second" failed in reload: no such device/);
  assert.deepEqual(got, [{ level: 2 }, { level: 1 }]);
  await assert.rejects(kernel.reload(changes), /no such device/, "the change is still one");
  await kernel.stop();
});
