# A server: keeps the state of the cluster and decides what runs where.
#
#   drover agent -config examples/agent/server.hcl
#
# The format is Nomad's agent configuration. Several -config files or folders are merged
# in order.

region     = "global"
datacenter = "dc1"
data_dir   = "/var/lib/drover/server"

# Where to listen. Put the address of the network that the other machines reach here.
bind_addr = "127.0.0.1"

ports {
  http = 4646 # API and command line
  rpc  = 4647 # servers among themselves
  serf = 4648 # gossip
}

server {
  enabled = true

  # How many servers found the cluster together.
  bootstrap_expect = 1
}

# Agents are reached through an MQTT broker. This plugin brings one along; its README says
# how to use a broker of your own instead.
plugin "mqtt" {
  config {
    broker {
      listen = "127.0.0.1:1883"
    }
  }
}
