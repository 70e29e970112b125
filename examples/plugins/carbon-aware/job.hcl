# Goes to the node with the cleanest electricity that has room: the scorer counts three times.
job "render" {
  datacenters = ["dc1"]

  meta {
    "drover.scorers" = "carbon=3"
  }

  group "render" {
    task "render" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo rendering; exec sleep 3600"]
      }

      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
