# A service with everything that a careful rollout needs: canaries, health, automatic
# revert, placement rules and bounds for scaling.
#
#   drover job run examples/web.hcl
#   # change GREETING below and run it again: one canary starts beside the old version

variable "count" {
  type    = number
  default = 2
}

job "web" {
  datacenters = ["dc1"]
  type        = "service"

  meta {
    owner = "team-a"
  }

  # How a new version replaces the old one.
  update {
    max_parallel      = 1             # replace one at a time
    canary            = 1             # but first try one of the new version
    min_healthy_time  = "5s"          # it must run this long to count as healthy
    healthy_deadline  = "30s"         # and be healthy within this
    progress_deadline = "60s"         # or the deployment fails
    auto_revert       = true          # and the last good version comes back
    health_check      = "task_states" # healthy: all tasks are running
  }

  group "app" {
    count = var.count

    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }

    # A soft preference: nodes of this data center score higher.
    affinity {
      attribute = "${node.datacenter}"
      value     = "dc1"
      weight    = 50
    }

    # Spread the allocations evenly over the data centers.
    spread {
      attribute = "${node.datacenter}"
    }

    network {
      port "http" {}
    }

    restart {
      attempts = 3
      delay    = "2s"
      interval = "1m"
      mode     = "delay"
    }

    # Bounds for `drover job scale` and for an autoscaler.
    scaling {
      min     = 1
      max     = 10
      enabled = true
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo \"$GREETING from $NOMAD_ALLOC_ID port $NOMAD_PORT_http\"; exec sleep 3600"]
      }

      env {
        GREETING = "hi"
      }

      resources {
        cpu    = 100
        memory = 64
      }

      logs {
        max_files     = 2
        max_file_size = 1
      }
    }
  }
}
