# A client: runs tasks. It needs one outgoing connection, to the MQTT broker, and at its first
# start a join token, which a server makes for one node:
#
#   export DROVER_JOIN_TOKEN=$(drover node join-token)
#   drover agent -config examples/agent/client.hcl

region     = "global"
datacenter = "dc1"
data_dir   = "/var/lib/drover/client"
bind_addr  = "127.0.0.1"

# Another port than the server's, so that both can run on one machine.
ports {
  http = 5656
  rpc  = 5657
  serf = 5658
}

client {
  enabled = true

  # Facts about this node for constraints: ${meta.rack}.
  meta {
    rack = "r1"
  }

  # Kept back for the machine itself.
  reserved {
    cpu    = 100
    memory = 128
  }
}

# Task drivers. raw_exec runs programs with the rights of the agent, unconfined: turn it on
# only where every job is trusted.
plugin "raw_exec" {
  config {
    enabled = true
  }
}

# The way to the servers.
plugin "mqtt" {
  config {
    broker {
      url = "mqtt://127.0.0.1:1883"
    }
  }
}
