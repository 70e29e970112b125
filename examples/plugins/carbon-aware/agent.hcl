# A node says how its electricity is made, in grams of CO2 a kilowatt-hour:
#
#   client {
#     meta {
#       carbon_intensity = "31"
#     }
#   }
#
# Servers load the plugin:
#
#   drover agent -config examples/agent/server.hcl -config examples/plugins/carbon-aware/agent.hcl

plugin "carbon-aware" {
  source = "./examples/plugins/carbon-aware/carbon-aware.mjs"
}

# Every batch job goes where the electricity is clean, without asking for it.
scheduler "batch" {
  scorers = ["carbon=2"]
}
