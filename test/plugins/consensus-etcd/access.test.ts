/** Users, roles and certificates of etcd. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { eventually } from "@drover/plugin-sdk/testing";
import { Range } from "etcd3";
import { EtcdConfig } from "../../../plugins/consensus-etcd/config.js";
import { EtcdCluster } from "./etcd-cluster.js";
import { encode, ListMachine, type Settings, server, temporaryFolder } from "./support.js";

const run = promisify(execFile);

async function attempt(t: TestContext, etcd: EtcdCluster, settings: Settings): Promise<void> {
  const folder = await temporaryFolder();
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { consensus } = await server(etcd, folder, "/drover", { start_timeout: 1000, ...settings });
  t.after(() => consensus.stop());
  await consensus.start(new ListMachine());
  await eventually("it leads", () => consensus.isLeader());
  await consensus.propose(encode("a"));
  await consensus.stop();
}

it("a server signs in as a user whose role covers its prefix, and is refused otherwise without a word of the password", async (t) => {
  const etcd = await EtcdCluster.start(1);
  t.after(() => etcd.destroy());
  const client = etcd.client();
  const root = client.user("root");
  await root.create("root-secret");
  await client.role("root").create();
  await root.addRole("root");
  for (const [name, prefix] of [
    ["drover", "/drover/"],
    ["other", "/other/"],
  ] as const) {
    const role = client.role(name);
    await role.create();
    await role.grant({ permission: "Readwrite", range: Range.prefix(prefix) });
    const user = client.user(name);
    await user.create("s3cret-word");
    await user.addRole(role);
  }
  await client.auth.authEnable();
  client.close();

  await attempt(t, etcd, { username: "drover", password: "s3cret-word" });
  const refusal = async (settings: Settings): Promise<string> => {
    const error = await attempt(t, etcd, settings).then(
      () => assert.fail("it started"),
      (failure: Error) => failure,
    );
    assert.doesNotMatch(`${error.message} ${error.stack}`, /s3cret-word|wrong-word/);
    return error.message;
  };
  assert.match(await refusal({ username: "drover", password: "wrong-word" }), /refuses user "drover"/);
  assert.match(
    await refusal({ username: "other", password: "s3cret-word" }),
    /refuses user "other".*may read and write below "\/drover"/,
  );
  assert.match(await refusal({}), /refuses this server without a user/);
});

it("a server speaks TLS with certificates on both sides, and says which file or certificate is wrong", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "drover-etcd-tls-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => run("openssl", args, { cwd: folder });
  const authority = async (name: string) => {
    await openssl(
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
      "-subj",
      `/CN=${name}`,
    );
  };
  await authority("ca");
  await authority("stranger");
  await writeFile(path("names"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  for (const name of ["member", "server"]) {
    await openssl(
      "req",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
      "-subj",
      `/CN=${name}`,
    );
    await openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      "names",
      "-out",
      `${name}.pem`,
    );
  }
  const etcd = await EtcdCluster.start(1, [], {
    ca: path("ca.pem"),
    cert: path("member.pem"),
    key: path("member.key"),
  });
  t.after(() => etcd.destroy());

  const files = { ca_file: path("ca.pem"), cert_file: path("server.pem"), key_file: path("server.key") };
  await attempt(t, etcd, files);
  await assert.rejects(
    attempt(t, etcd, { ...files, ca_file: path("stranger.pem") }),
    /does not answer .*certificate.*correct endpoints and certificates/s,
  );
  await assert.rejects(
    attempt(t, etcd, { ca_file: files.ca_file }),
    /does not answer .*correct endpoints and certificates/s,
  );
  await assert.rejects(
    attempt(t, etcd, { ...files, key_file: path("nothing") }),
    /key_file of consensus-etcd can't be read: ENOENT/,
  );
});

it("the configuration names what does not go together", () => {
  const problems = (config: unknown) => {
    const checked = EtcdConfig.safeParse(config);
    assert.equal(checked.success, false);
    return checked.error!.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
  };
  assert.match(problems({ endpoints: ["127.0.0.1:2379"] }), /endpoints\.0: must be http/);
  assert.match(problems({ endpoints: ["http://a:1", "https://b:1"] }), /all http or all https/);
  assert.match(problems({ endpoints: ["https://b:1"] }), /ca_file: is needed/);
  assert.match(problems({ ca_file: "x" }), /ca_file: needs https/);
  assert.match(
    problems({ endpoints: ["https://b:1"], ca_file: "x", cert_file: "y" }),
    /key_file: .*go together/,
  );
  assert.match(problems({ username: "x" }), /password: username and password go together/);
  assert.match(problems({ lease_ttl: 2500 }), /lease_ttl/);
  assert.match(problems({ prefix: "/with space" }), /prefix: must be/);
  assert.deepEqual(EtcdConfig.parse({}).endpoints, ["http://127.0.0.1:2379"]);
});
