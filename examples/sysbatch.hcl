# Once on every node, to its end: a node where it is done is done until the job changes.
job "disk-report" {
  datacenters = ["dc1"]
  type        = "sysbatch"

  group "report" {
    task "df" {
      driver = "raw_exec"

      config {
        command = "/bin/df"
        args    = ["-h"]
      }

      resources {
        cpu    = 20 # MHz
        memory = 16 # MiB
      }
    }
  }
}
