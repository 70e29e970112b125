# On every node: a small program that says how the node is. A node that joins later gets it too.
job "node-report" {
  datacenters = ["dc1"]
  type        = "system"

  # A new version replaces it on two nodes at a time, the next two after half a minute.
  update {
    max_parallel = 2
    stagger      = "30s"
  }

  group "report" {
    task "uptime" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do uptime; sleep 60; done"]
      }

      resources {
        cpu    = 20 # MHz
        memory = 16 # MiB
      }
    }
  }
}
