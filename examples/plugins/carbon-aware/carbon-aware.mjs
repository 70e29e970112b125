import { definePlugin, NodeScorer } from "@drover/plugin-sdk";
import { rowsOf } from "@drover/plugin-sdk/scheduling";
import { z } from "zod";

/**
 * Prefers nodes whose electricity is clean: 1 for the lowest carbon intensity among the candidates, -1 for the highest. A
 * node that doesn't say how it is powered counts as the dirtiest.
 */
function carbonScorer({ attribute }) {
  return {
    name: "carbon",
    applies: "named",
    score(candidates, scores, { columns }) {
      // A number a distinct value, not one a node: regions have few intensities and many nodes.
      const intensities = columns.values(attribute).map(gramsOf);
      const codes = columns.codes(attribute);
      let [low, high] = [Infinity, -Infinity];
      for (const row of rowsOf(candidates)) {
        const grams = intensities[codes[row]];
        if (grams < low) low = grams;
        if (grams > high && grams < Infinity) high = grams;
      }
      // Nobody knows: no opinion.
      if (low === Infinity) return false;
      for (const row of rowsOf(candidates)) {
        const grams = intensities[codes[row]];
        scores[row] = grams === Infinity ? -1 : high === low ? 1 : 1 - (2 * (grams - low)) / (high - low);
      }
      return true;
    },
  };
}

/** gCO2/kWh. */
const gramsOf = (text) => (/^\d+(\.\d+)?$/.test(text ?? "") ? Number(text) : Infinity);

export default definePlugin({
  name: "carbon-aware",
  description: "Prefers the nodes with the lowest carbon intensity",
  config: z.strictObject({ attribute: z.string().default("meta.carbon_intensity") }),
  provides: [NodeScorer],
  register: (container, config) => void container.registerInstance(NodeScorer, carbonScorer(config)),
});
