import { testAgentTransport } from "@drover/plugin-sdk/testing";
import { Fixtures, TestServer } from "./fixtures.js";

const fixtures = new Fixtures();
let server: TestServer;

testAgentTransport("the mqtt plugin with its own broker", {
  async transport() {
    server = await TestServer.create();
    return server.gateway;
  },
  async link(transport, token) {
    return fixtures.createLink({ url: transport.brokerUrls()[0]!, token });
  },
  async close() {
    await fixtures.close();
    await server.close();
  },
});
