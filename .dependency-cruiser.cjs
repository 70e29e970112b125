/** The rules of the house: who may import whom. `npm run imports` fails on a violation. */
module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-unresolvable",
      severity: "error",
      comment: "an import that resolves to nothing",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "sdk-imports-nothing-of-the-tree",
      severity: "error",
      from: { path: "^plugin-sdk/" },
      to: { path: "^(core|plugins|workers|test|bench)/" },
    },
    {
      name: "plugins-import-only-the-sdk",
      severity: "error",
      from: { path: "^plugins/" },
      to: { path: "^(core|workers|test|bench)/" },
    },
    {
      name: "plugins-never-import-each-other",
      severity: "error",
      from: { path: "^plugins/([^/]+)/" },
      to: { path: "^plugins/", pathNot: "^plugins/$1/" },
    },
    {
      name: "core-never-imports-a-plugin",
      severity: "error",
      from: { path: "^core/" },
      to: { path: "^(plugins|workers|test|bench)/" },
    },
    {
      name: "workers-read-state-only",
      severity: "error",
      from: { path: "^workers/" },
      to: { path: "^(core|plugins|test|bench)/", pathNot: "^core/state/read/" },
    },
    {
      name: "reading-side-of-state-is-its-own",
      severity: "error",
      comment: "what worker threads load must not pull in the writing side",
      from: { path: "^core/state/read/" },
      to: { path: "^core/", pathNot: "^core/state/read/" },
    },
    {
      name: "product-code-never-imports-tests",
      severity: "error",
      from: { path: "^(core|plugins|workers|plugin-sdk)/" },
      to: { path: "^(test|bench)/" },
    },
    {
      name: "no-dev-dependency-in-the-product",
      severity: "error",
      from: { path: "^(core|plugins|workers|plugin-sdk)/", pathNot: "^plugin-sdk/testing/" },
      to: { dependencyTypes: ["npm-dev"] },
    },
  ],
  options: {
    parser: "tsc",
    tsPreCompilationDeps: true,
    doNotFollow: { path: ["node_modules", "dist"] },
    exclude: { path: "(^|/)dist/" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "default"] },
  },
};
