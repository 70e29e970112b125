# Two copies of a tiny service. Run it with:
#
#   drover job run examples/hello.hcl
#
# A job is a tree: job > group > task. Groups are placed on nodes, `count` times;
# the tasks of a group run side by side on the same node.

job "hello" {
  # Where it may run. A development agent is in "dc1".
  datacenters = ["dc1"]

  # "service" keeps running and is replaced when it dies; "batch" runs to its end.
  type = "service"

  # Free-form facts. Tasks see them as NOMAD_META_owner and so on.
  meta {
    owner = "you"
  }

  group "greeter" {
    # How many copies (allocations). Change it to 3, run the job again, and watch.
    count = 2

    # A hard requirement. ${attr.…}, ${node.…} and ${meta.…} are facts of the node;
    # `drover node status -verbose NODE` lists them.
    constraint {
      attribute = "${attr.kernel.name}"
      operator  = "regexp"
      value     = "linux|darwin"
    }

    # Asks for one free port of the node. The task finds it as NOMAD_PORT_http.
    # `static = 8080` would ask for that very port instead.
    network {
      port "http" {}
    }

    # When the task fails: up to 3 restarts a minute on the same node, then give the
    # allocation up, so that it is placed somewhere else.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "2s"
      mode     = "fail"
    }

    task "say" {
      # raw_exec runs a program of the host as it is.
      driver = "raw_exec"

      config {
        command = "/bin/sh"

        # $NAME is read by the shell when the task runs. ${NAME} would be filled in
        # by the agent before it starts; to give the shell a ${NAME}, write $${NAME}.
        args = ["-c", <<-SCRIPT
          trap 'echo "bye from $NOMAD_ALLOC_ID"; exit 0' INT TERM
          n=0
          while true; do
            n=$((n + 1))
            echo "$GREETING $n from $NOMAD_ALLOC_ID on port $NOMAD_PORT_http"
            sleep 1
          done
          SCRIPT
        ]
      }

      # Environment of the task. These values are filled in by the agent too.
      env {
        GREETING = "hello"
        NODE     = "${node.unique.name}"
      }

      # What the task may use: MHz of CPU and MB of memory. The scheduler places it
      # where this much is free.
      resources {
        cpu    = 50
        memory = 32
      }

      # stdout and stderr are kept in files: `drover alloc logs -f ALLOCATION`.
      logs {
        max_files     = 2
        max_file_size = 1
      }
    }
  }
}
